"""Kernels under `numpyro.infer.MCMC` and `pm.MCMC`: the same draws, however one asks for them."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import numpyro
import pytest
from numpyro_chains import (
    EXACT,
    KERNELS,
    NUM_SAMPLES,
    WINDOW,
    Y,
    assert_same,
    drawn,
    model,
    mostly,
    run,
    sampler,
    stepwise,
)
from numpyro_runs import CLASSES

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("double_precision")


# Draws of MALA are those of most of the other tests.
@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["numpyro"]))
@pytest.mark.parametrize(
    "kernel",
    mostly(
        [name for name in KERNELS if name != "mala"],
        slow=["blackjax mala"],
        thorough=["random walk", "blackjax dhmc"],
    ),
)
def test_every_kernel_gives_the_draws_of_its_sequential_chain(kernel, cls):
    result = run(kernel, cls, num_warmup=0)
    assert_same(drawn(result), stepwise(kernel, num_warmup=0))
    assert not drawn(result)[1]["solve.status"].any()
    assert int(np.max(result.last_state.solve.num_iterations)) > 0  # it was solved in parallel
    assert jax.tree.leaves(drawn(result)[0])[0].std() > 0  # and moved


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["numpyro"]))
@pytest.mark.parametrize(
    "method",
    mostly(["sequential", "vectorized", jax.vmap], slow=["sequential"], thorough=[jax.vmap]),
)
def test_every_way_to_run_chains_gives_the_same_draws(cls, method):
    result = run(cls=cls, num_chains=2, chain_method=method)
    samples, fields = drawn(result)
    assert samples["mu"].shape == fields["potential_energy"].shape == (2, NUM_SAMPLES)
    # Vectorised arithmetic rounds differently, and the warm-up adapts to it.
    assert_same((samples, fields), stepwise(num_chains=2), rtol=1e-5, atol=1e-5)
    assert result.last_state.z["mu"].shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_the_window_does_not_change_the_draws(cls):
    result = run(cls=cls, window=NUM_SAMPLES + 5, num_warmup=0)
    assert_same(drawn(result)[0], stepwise(num_warmup=0)[0])


@pytest.mark.parametrize("cls", CLASSES)
def test_raw_keys_do_as_well(cls):
    mcmc = sampler(cls=cls, solver=pm.sequential(), num_warmup=0)
    mcmc.run(jax.random.PRNGKey(0), Y)
    expected = stepwise(num_warmup=0)[0]["mu"][0]
    np.testing.assert_allclose(mcmc.get_samples()["mu"], expected, **EXACT)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.slow
def test_thinning_keeps_every_third_draw(cls):
    # Of 29 draws the first two are left over, then the last of each three is kept.
    result = run(cls=cls, thinning=3, num_samples=29, solver=pm.sequential(), num_warmup=0)
    expected = stepwise(num_warmup=0)[0]["mu"][0][4:29:3]
    np.testing.assert_allclose(result.get_samples()["mu"], expected, **EXACT)


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["pm"]))
def test_a_progress_bar_changes_nothing(cls, capfd, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # NumPyro shows no bar there
    monkeypatch.delenv("CI", raising=False)
    assert_same(drawn(run(cls=cls, progress_bar=True, num_warmup=0)), stepwise(num_warmup=0))
    shown = capfd.readouterr().err
    assert "100%" in shown
    if cls == "numpyro":
        assert "step size" in shown and "iterations, converged" in shown


@pytest.mark.parametrize("cls, num_chains", [("numpyro", 2), ("pm", 1)])
@pytest.mark.slow
def test_a_chain_finished_step_by_step_is_right_and_warns_once(cls, num_chains):
    kernel = pm.ParallelMALA(
        model, step_size=0.1, solver=pm.jacobi(max_iterations=1), window=WINDOW
    )
    mcmc = CLASSES[cls](
        kernel, num_warmup=0, num_samples=NUM_SAMPLES, num_chains=num_chains,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    with pytest.warns(pm.ConvergenceWarning, match="run one by one") as warned:
        mcmc.run(jax.random.key(0), Y)
        jax.effects_barrier()
    # In three windows. pm.MCMC looks at all chains in the end, NumPyro's has no end to look at.
    assert len(warned) == (num_chains if cls == "numpyro" else 1)
    expected = stepwise(num_chains=num_chains, num_warmup=0)[0]
    assert_same(drawn(mcmc)[0], expected)


def test_a_kernel_of_numpyros_runs_as_it_does_there():
    results = []
    for cls in CLASSES.values():
        kernel = numpyro.infer.HMC(model, num_steps=3, adapt_step_size=False, step_size=0.3)
        mcmc = cls(kernel, num_warmup=2, num_samples=20, progress_bar=False)
        mcmc.warmup(jax.random.key(1), Y)
        mcmc.run(jax.random.key(0), Y)
        results.append(mcmc.get_samples())
    assert_same(*results)


TWO_DEVICES = """
import sys, jax, numpy as np, numpyro, numpyro.distributions as dist
import parallel_mcmc as pm
from numpyro.infer import MCMC
assert jax.local_device_count() == 2

def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

y, found = np.array([0.3, 1.9]), []
for cls, method in (pm.MCMC, "sequential"), (pm.MCMC, "parallel"), (MCMC, "parallel"):
    mcmc = cls(
        pm.ParallelHMC(model, solver=pm.jacobi(), window=5), num_warmup=0, num_samples=8,
        num_chains=2, chain_method=method, progress_bar=False,
    )
    mcmc.run(jax.random.key(0), y)
    assert len(mcmc.last_state.x.devices()) == 1 + (method == "parallel")
    found.append(np.asarray(mcmc.get_samples(group_by_chain=True)["mu"]))
    np.testing.assert_allclose(found[-1], found[0], rtol=1e-4, atol=1e-4)
assert found[0].shape == (2, 8) and np.all(found[0][0] != found[0][1])
print("same")
"""


@pytest.mark.slow
def test_chains_on_two_devices_are_those_of_one():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "same", result.stderr
