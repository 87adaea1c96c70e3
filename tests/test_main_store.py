"""The command line with a store: it goes on where it was, without another warm-up."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray

import parallel_mcmc as pm
from parallel_mcmc.__main__ import main

ARGUMENTS = [
    "--kernel=random-walk", "--solver=sequential", "--chains=2", "--warmup=20", "--window=10",
]  # fmt: skip


def run(folder, draws, *others):
    main([*ARGUMENTS, "--draws", str(draws), "--output", str(folder), *others])


def test_the_same_command_goes_on(tmp_path):
    store = tmp_path / "run.zarr"
    run(tmp_path / "first", 20, "--store", str(store))
    kept = (tmp_path / "run.zarr.warmup.npz").stat().st_mtime_ns
    run(tmp_path / "then", 40, "--store", str(store))
    assert (tmp_path / "run.zarr.warmup.npz").stat().st_mtime_ns == kept
    assert pm.open_store(store)["posterior"].sizes["draw"] == 40
    run(tmp_path / "alone", 40)
    stored, alone = (
        xarray.load_dataset(
            tmp_path / folder / "eight-schools.nc", group="posterior", engine="h5netcdf"
        )
        for folder in ("then", "alone")
    )
    for name, draws in alone.items():
        np.testing.assert_allclose(stored[name], draws, rtol=1e-4, atol=1e-4, err_msg=name)
    with pytest.raises(SystemExit, match="another"):
        run(tmp_path / "other", 60, "--store", str(store), "--seed", "1")


@pytest.mark.slow
def test_sigterm_ends_it_after_a_window(tmp_path):
    store = tmp_path / "run.zarr"
    command = [sys.executable, "-m", "parallel_mcmc", *ARGUMENTS, "--draws", "100000"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path), "--store", str(store)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (store / "posterior").exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == -signal.SIGTERM
    assert "Interrupted after" in errors and "goes on from there" in errors
    draws = pm.open_store(store)["posterior"]["mu"]
    assert draws.sizes["draw"] % 10 == 0 and np.isfinite(draws).all()
