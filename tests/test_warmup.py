"""Starts, step sizes and metrics, on a normal whose scales differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._cli import warmup
from parallel_mcmc._mcmc.helpers import scatter

pytestmark = pytest.mark.slow

SD = np.array([0.1, 1.0, 10.0])


def logdensity_fn(x):
    return -jnp.sum((x["x"] / jnp.asarray(SD, x["x"].dtype)) ** 2) / 2


START = {"x": jnp.ones(3)}
KEY = jax.random.key(1)


def test_starts_are_spread_over_the_whole_range():
    starts = scatter(jax.random.key(0), {"x": jnp.full(2, 5.0)}, 1000, radius=2.0)["x"]
    assert starts.shape == (1000, 2)
    assert 3 < starts.min() < 3.1
    assert 6.9 < starts.max() < 7
    assert abs(jnp.corrcoef(starts.T)[0, 1]) < 0.1


@pytest.mark.parametrize("is_mass_matrix_diagonal", [True, False])
def test_hmc_finds_the_variances_and_keeps_its_trajectory_length(is_mass_matrix_diagonal):
    tuned = warmup.tuned_hmc(
        warmup.Task(KEY, logdensity_fn, START, 4, 600, is_mass_matrix_diagonal, 1.5)
    )
    # The metric is L L', and the kernel's coordinates w are those of x = L w.
    columns = jax.vmap(tuned.kernel.at(START).unravel)(jnp.eye(3)).position["x"]
    np.testing.assert_allclose(np.sqrt(np.diag(columns.T @ columns)), SD, rtol=0.3)
    trace = pm.sample(
        jax.random.key(2), tuned.kernel, tuned.position, 200, num_chains=4, solver=pm.jacobi()
    )
    stats = trace.sample_stats
    np.testing.assert_allclose(stats["n_steps"] * stats["step_size"], 1.5, rtol=1e-5)
    assert 0.8 < stats["acceptance_rate"].mean() < 0.999
    np.testing.assert_allclose(trace.position["x"].std((0, 1)), SD, rtol=0.2)
    assert trace.solve.num_iterations.max() < 40


def test_mala_accepts_about_as_asked():
    tuned = warmup.tuned_mala(warmup.Task(KEY, logdensity_fn, START, 4, 600))
    trace = pm.sample(
        jax.random.key(2), tuned.kernel, tuned.position, 500, num_chains=4, solver=pm.quasi_deer()
    )
    # Dual averaging ends on the cautious side of 0.8.
    assert 0.7 < trace.sample_stats["acceptance_rate"].mean() < 0.96


def test_where_there_is_no_room_to_tune_there_are_no_helpers():
    # Their step size would be that of longer trajectories.
    tuned = warmup.tuned_mala(warmup.Task(KEY, logdensity_fn, START, 2, 210))
    assert tuned.cost == "210 steps"


def test_a_random_walk_takes_steps_of_2_38_over_root_d():
    tuned = warmup.tuned_random_walk(warmup.Task(KEY, logdensity_fn, START, 4, 600))
    trace = pm.sample(
        jax.random.key(2), tuned.kernel, tuned.position, 2000, num_chains=4, solver=pm.sequential()
    )
    moves = np.diff(trace.position["x"], axis=1)
    accepted = np.asarray(trace.sample_stats["accepted"])[:, 1:]
    # Accepted steps are shorter than those proposed, but not by much.
    np.testing.assert_allclose(moves[accepted].std(0) / SD, 2.38 / np.sqrt(3) * 0.75, rtol=0.25)
    assert 0.2 < accepted.mean() < 0.45
