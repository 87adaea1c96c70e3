"""The kernels draw from their target, and do not leave its support."""

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_table import (
    AVERAGE,
    COUNT,
    COVARIANCE,
    GIBBS_BLOCKS,
    GIBBS_START,
    KERNELS,
    MEAN,
    NUM_STEPS,
    SQUARES,
    START,
    run,
)
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


# The right chain ------------------------------------------------------------------------


def assert_has_mean(values, mean):
    """The average of ``(chains, draws)`` is within 4 Monte Carlo standard errors of ``mean``."""
    values = np.asarray(values)
    error = values.std() / np.sqrt(float(arviz.ess(values)))
    # The bound would mean little for a chain that hardly mixes.
    assert error < 0.1 * values.std()
    assert abs(values.mean() - mean) < 4 * error


@pytest.mark.parametrize("kernel", KERNELS)
def test_long_chains_have_the_mean_and_the_covariance_of_the_target(kernel):
    starts = jax.tree.map(lambda leaf: np.stack([leaf] * 4), START)
    trace = pm.sample(
        jax.random.key(5), KERNELS[kernel](), starts, 5000, num_chains=4, solver=pm.sequential()
    )
    # Started at about one standard deviation from the mean: 200 draws are many times the memory.
    a, b = trace.position["a"][:, 200:], trace.position["b"][:, 200:]
    d = np.concatenate([np.asarray(a)[..., None], np.asarray(b)], axis=-1) - MEAN
    for i in range(3):
        assert_has_mean(d[..., i], 0.0)
        for j in range(i + 1):
            assert_has_mean(d[..., i] * d[..., j], COVARIANCE[i, j])


def test_long_gibbs_chains_have_the_moments_of_the_conjugate_posterior():
    starts = jax.tree.map(lambda leaf: np.stack([leaf] * 4), GIBBS_START)
    transition = pm.gibbs(GIBBS_BLOCKS)
    trace = pm.sample(
        jax.random.key(6), transition, starts, 5000, num_chains=4, solver=pm.sequential()
    )
    mu, variance = (np.asarray(trace.position[name])[:, 50:] for name in ("mu", "variance"))
    # mu is Student-t, the variance is InverseGamma((n - 1) / 2, SQUARES / 2).
    assert_has_mean(mu, AVERAGE)
    assert_has_mean((mu - AVERAGE) ** 2, SQUARES / (COUNT * (COUNT - 3)))
    expected, shape = SQUARES / (COUNT - 3), (COUNT - 1) / 2
    assert_has_mean(variance, expected)
    assert_has_mean((variance - expected) ** 2, expected**2 / (shape - 2))


# Outside the support --------------------------------------------------------------------


def gamma(x):
    """Gamma(3, 1) in each coordinate; its logarithm is NaN outside the support."""
    return jnp.sum(2 * jnp.log(x) - x)


def exponential(x):
    """Exponential(1) in each coordinate, by way of the logarithm of a negative number."""
    return jnp.sum(jnp.log(jnp.exp(-x)) + 0 * jnp.log(x))


def box(x):
    """Uniform on (0, 2) in each coordinate."""
    return jnp.where(jnp.all((x > 0) & (x < 2)), 0.0, -jnp.inf)


SUPPORTED = {"gamma": gamma, "exponential": exponential, "box": box}
REACHES_OUT = {
    "random_walk": lambda logdensity_fn: pm.random_walk(logdensity_fn, 1.5).at(jnp.ones(2)),
    "mala": lambda logdensity_fn: pm.mala(logdensity_fn, 0.8).at(jnp.ones(2)),
    "hmc": lambda logdensity_fn: pm.hmc(logdensity_fn, 0.6, None, 4).at(jnp.ones(2)),
}


# By default each kernel meets one target.
PAIRS = [
    pytest.param(kernel, target, solver, marks=[pytest.mark.thorough] * (i != j or k > 0))
    for i, kernel in enumerate(REACHES_OUT)
    for j, target in enumerate(SUPPORTED)
    for k, solver in enumerate(("deer", "picard"))
]


@pytest.mark.parametrize("kernel, target, solver", PAIRS)
def test_a_proposal_outside_the_support_is_rejected_and_poisons_nothing(kernel, target, solver):
    transition = REACHES_OUT[kernel](SUPPORTED[target])
    state = transition.init(jnp.ones(2))
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(2), NUM_STEPS), state)
    _, expected, _ = pm.run_sequential(transition, state, inputs)
    states, infos = expected
    assert np.all(infos.acceptance_rate[~infos.is_accepted] < 1)
    # Some proposals were outside, some inside.
    assert 0 < np.sum(infos.acceptance_rate == 0) < NUM_STEPS
    assert np.any(infos.is_accepted)

    _, history, info = run(transition, state, inputs, SOLVERS[solver])
    states, infos = history
    assert info.status != pm.Status.NON_FINITE
    x = np.asarray(states.position)
    assert np.all(x > 0) and np.all(np.isfinite(states.logdensity))
    assert np.all((infos.acceptance_rate >= 0) & (infos.acceptance_rate <= 1))
    # The tolerance, with some tens of steps of memory.
    np.testing.assert_allclose(x, expected[0].position, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(infos.is_accepted, expected[1].is_accepted)


@pytest.mark.parametrize("target, mean, variance", [("gamma", 3, 3), ("box", 1, 1 / 3)])
@pytest.mark.parametrize("kernel", REACHES_OUT)
def test_rejecting_outside_the_support_leaves_the_target_invariant(kernel, target, mean, variance):
    transition = REACHES_OUT[kernel](SUPPORTED[target])
    x = pm.sample(
        jax.random.key(8), transition, jnp.ones((4, 2)), 4000, num_chains=4, solver=pm.sequential()
    ).position[:, 100:]
    for i in range(2):
        assert_has_mean(x[..., i], mean)
        assert_has_mean((x[..., i] - mean) ** 2, variance)


def test_a_trajectory_that_ends_outside_the_support_is_a_divergence():
    transition = REACHES_OUT["hmc"](gamma)
    state = transition.init(jnp.ones(2))
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(2), NUM_STEPS), state)
    _, (_, infos), _ = pm.run_sequential(transition, state, inputs)
    outside = ~np.isfinite(infos.energy)
    assert outside.any() and not outside.all()
    assert np.all(infos.is_divergent[outside]) and not np.any(infos.is_accepted[outside])
