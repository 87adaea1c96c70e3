"""Tests that need four devices run in a process of their own, where they are tests like others."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

slow = pytest.mark.slow
FLAG = "--xla_force_host_platform_device_count=4"
ARE_HERE = FLAG in os.environ.get("XLA_FLAGS", "")
on_four = pytest.mark.skipif(not ARE_HERE, reason="runs in a process with four devices")
WHICH = ["not slow", pytest.param("slow", marks=slow)]


def over_time(num_devices=4):
    return Mesh(np.array(jax.devices()[:num_devices]), ("time",))


def over_chains(num_devices=4):
    return Mesh(np.array(jax.devices()[:num_devices]), ("chains",))


def over_both():
    return jax.make_mesh((2, 2), ("chains", "time"))


def pieces_of(array, axis=0):
    """Which rows are on each device."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.device.id)
    return [(shard.index[axis].start or 0, shard.data.shape[axis]) for shard in shards]


def assert_same_report(info, expected):
    """Every count is equal; the residual is the last one of a solve, which rounds differently."""
    for name, value in info._asdict().items():
        if name != "residual":
            np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)


def pass_on_four_devices(file, which):
    """Run the tests of a file that are marked so in a process with four devices."""
    if ARE_HERE:
        pytest.skip("this is the process with four devices")
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-m", which]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, file],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
