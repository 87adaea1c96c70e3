"""Where helpers do not warm up NumPyro's kernels, or do not settle: what happens, and is told."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro_runs import CLASSES
from numpyro_warmups import model, run, started, walk

import parallel_mcmc as pm


def bimodal(name="x"):
    numpyro.sample(name, dist.MixtureSameFamily(
        dist.Categorical(jnp.ones(2) / 2), dist.Normal(jnp.array([-1.5, 1.5]), 0.02),
    ))  # fmt: skip


def modes_and_walk():
    bimodal("modes")
    walk()


def test_numpyros_warm_up_replaces_a_metric_of_helpers_that_did_not_settle():
    """By variances of its own, as it has them above 64 unknowns."""
    kernel = pm.ParallelHMC(modes_and_walk, solver=pm.sequential())
    with pytest.warns(pm.AdaptationWarning, match="not settled after .*`modes"):
        mcmc = run(kernel, num_warmup=200, num_samples=20)
    (metric,) = mcmc.last_state.adapt_state.inverse_mass_matrix.values()
    variances = np.diagonal(metric, axis1=1, axis2=2)
    np.testing.assert_array_equal(metric, variances[:, :, None] * np.eye(101))
    (factor,) = mcmc.last_state.adapt_state.mass_matrix_sqrt_inv.values()
    np.testing.assert_allclose(factor**2, metric, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        state = started(kernel, 200)
    (before,) = state.adapt_state.inverse_mass_matrix.values()
    assert np.any(before[1, 2:] != 0)  # what the helpers had found until then


def test_modes_that_helpers_cannot_leave_are_told_and_numpyros_warm_up_takes_over():
    kernel = pm.ParallelHMC(bimodal, solver=pm.sequential())
    with pytest.warns(pm.AdaptationWarning, match=r"of 2 of 2 chains.*several modes.*`x` \(R-hat"):
        mcmc = run(kernel, num_samples=50)
    warmup = mcmc.last_state.warmup
    assert not np.any(warmup.settled)
    assert np.all(warmup.num_gradients > 500)  # of the helpers, and of 500 steps
    assert np.all(np.asarray(mcmc.last_state.i) == 550)


@pytest.mark.parametrize(
    "kernel, num_warmup",
    [
        (pm.ParallelHMC(model, num_helpers=0), 500),
        (pm.ParallelHMC(model), 199),
        (pm.ParallelHMC(model, adapt_mass_matrix=False), 500),
        (pm.ParallelHMC(model, inverse_mass_matrix=jnp.ones(3)), 500),
        (pm.ParallelHMC(model, find_heuristic_step_size=True), 500),
        (pm.ParallelHMC(model, regularize_mass_matrix=True), 500),
        (pm.ParallelRandomWalk(model), 500),
    ],
    ids=[
        "none",
        "little time",
        "no metric to find",
        "a metric",
        "heuristic",
        "regularised",
        "no gradient",
    ],
)
def test_there_are_no_helpers_where_they_are_not_wanted(kernel, num_warmup):
    state = started(kernel, num_warmup)
    assert state.warmup.num_rounds == 0 and not state.warmup.settled


def test_few_helpers_are_refused():
    with pytest.raises(ValueError, match="at least 8, or 0 for none, got 4"):
        pm.ParallelHMC(model, num_helpers=4)


def test_steps_that_tune_a_step_size_count():
    kernel = pm.ParallelHMC(model, num_steps=10, trajectory_length=None)
    assert started(kernel, 223).warmup.num_rounds == 0  # 24 of them are for that
    assert started(kernel, 224).warmup.settled


def test_a_warm_up_without_draws_says_so_where_they_are_to_be_collected():
    mcmc = pm.MCMC(pm.ParallelHMC(model), num_warmup=300, num_samples=20, progress_bar=False)
    with pytest.warns(UserWarning, match="no draws of it.*num_helpers=0"):
        mcmc.warmup(jax.random.key(0), collect_warmup=True)
    a = mcmc.get_samples()["a"]
    assert a.shape == (300,) and np.ptp(a) == 0
    assert mcmc.solve_settings()["solver"] == "helpers"
    assert int(mcmc.post_warmup_state.i) == 300


@pytest.mark.slow
def test_without_a_warm_up_by_helpers_numpyros_own_class_has_no_pilot():
    kernel = pm.ParallelHMC(model, solver=pm.auto(platform="gpu"), num_helpers=0, step_size=0.1)
    settings = kernel.settings(started(kernel, num_warmup=20))
    assert settings["solver_choice"] == "deer: inside jit, without a pilot, for 3 unknowns"


@pytest.mark.parametrize("cls", CLASSES)
def test_trajectories_that_are_cut_short_after_the_warm_up_are_told(cls):
    kernel = pm.ParallelHMC(model, trajectory_length=20.0, max_num_steps=8, solver=pm.sequential())
    with pytest.warns(pm.AdaptationWarning, match=r"of 2 of 2 chains .* `max_num_steps`, 8"):
        mcmc = run(kernel, cls, num_samples=4)
    assert np.all(mcmc.last_state.num_steps == 8)
