"""A trajectory solved in parallel ends where the leapfrog integrator ends, in few iterations."""

import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.linear_maps import Block2x2
from parallel_mcmc._mcmc.coordinates import coordinates, root
from parallel_mcmc._mcmc.hmc import PhasePoint, leapfrog
from parallel_mcmc.targets import banana, logistic_regression

pytestmark = pytest.mark.slow

COVARIANCE = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 0.5]])
PRECISION = np.linalg.inv(COVARIANCE)


def gaussian(x):
    return -x @ jnp.asarray(PRECISION, x.dtype) @ x / 2


def regression():
    rng = np.random.default_rng(0)
    return logistic_regression("small", rng.normal(size=(60, 3)), rng.random(60) < 0.5)


# Log density, position, and a covariance of about the right size.
TARGETS = {
    "gaussian": (gaussian, np.array([0.3, -1.0, 0.7]), COVARIANCE),
    "banana": (banana().logdensity_fn, {"x": np.array([4.0, -2.0])}, np.diag([30.0, 2.0])),
    "regression": (regression().logdensity_fn, {"beta": np.zeros(3)}, 0.07 * np.eye(3) + 0.01),
}


def problem(target, metric, dtype):
    """The log density's value and gradient in the coordinates of a metric, and a point."""
    logdensity_fn, position, covariance = TARGETS[target]
    position = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), position)
    C = np.diag(covariance) if metric == "diagonal" else covariance
    ravel, unravel = coordinates(position, root(C))
    value_and_grad = jax.value_and_grad(lambda w: logdensity_fn(unravel(w)))
    w = ravel(position)
    p = jnp.asarray(np.random.default_rng(1).normal(size=w.shape), dtype)
    return value_and_grad, PhasePoint(w, p, *value_and_grad(w))


@pytest.mark.parametrize("num_steps", [pytest.param(1, marks=pytest.mark.thorough), 64])
@pytest.mark.parametrize(
    "target, metric",
    [
        ("gaussian", "diagonal"),
        ("gaussian", "dense"),
        ("banana", "diagonal"),
        ("regression", "dense"),
    ],
)
def test_the_end_point_is_that_of_the_leapfrog_integrator(target, metric, num_steps, dtype):
    value_and_grad, begin = problem(target, metric, dtype)
    h = jnp.asarray(1.5 / num_steps if num_steps > 1 else 0.1, dtype)

    @jax.jit
    def both(begin):
        expected = leapfrog(value_and_grad, begin, h, num_steps)
        return pm.parallel_integrator()(value_and_grad, begin, h, num_steps), expected

    (end, info), expected = both(begin)
    assert int(info.status) == pm.Status.CONVERGED
    # One step fewer is solved for, and one iteration more sees that.
    assert int(info.num_iterations) <= (num_steps if num_steps > 1 else 0)
    atol = 1e-9 if dtype == np.float64 else 1e-4
    for a, b in zip(end, expected, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("target", TARGETS)
def test_iterations_do_not_grow_with_the_number_of_steps(target):
    value_and_grad, begin = problem(target, "dense", np.float32)

    def iterations(num_steps):
        integrate = functools.partial(pm.parallel_integrator(), value_and_grad)
        info = jax.jit(lambda: integrate(begin, 1.5 / num_steps, num_steps))()[1]
        assert int(info.status) == pm.Status.CONVERGED
        return int(info.num_iterations)

    few, many = iterations(32), iterations(256)
    # An early stop is one of all steps at once: on the banana that takes 6 more (2 when each step
    # stopped by itself, by a scale that poor iterates could widen).
    assert many <= few + 6
    assert many <= 24


def test_what_has_not_converged_is_finished_step_by_step_and_reported(x64):
    value_and_grad, begin = problem("gaussian", "diagonal", np.float64)
    integrate = pm.parallel_integrator(pm.block_quasi_deer(max_iterations=2))
    end, info = jax.jit(lambda: integrate(value_and_grad, begin, 0.05, 30))()
    expected = leapfrog(value_and_grad, begin, jnp.asarray(0.05), 30)
    assert int(info.status) == pm.Status.FINISHED_SEQUENTIALLY
    assert int(info.num_sequential_steps) > 20
    np.testing.assert_allclose(end.q, expected.q, rtol=0, atol=1e-12)


# In the kernels ---------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [pytest.param("diagonal", marks=pytest.mark.thorough), "dense"])
def test_hmc_gives_the_same_draws_and_says_how_they_were_solved(metric, x64):
    inverse_mass_matrix = COVARIANCE if metric == "dense" else np.diag(COVARIANCE)
    position, chains = jnp.zeros(3), {}
    for name, integrator in [("loop", None), ("parallel", pm.parallel_integrator())]:
        transition = pm.hmc(gaussian, 0.05, inverse_mass_matrix, 30, integrator=integrator).at(
            position
        )
        state = transition.init(position)
        inputs = transition.draw_inputs(jax.random.split(jax.random.key(0), 20), state)
        chains[name] = jax.jit(functools.partial(pm.run_sequential, transition))(state, inputs)[1]
    (states, infos), (expected, expected_infos) = chains["parallel"], chains["loop"]
    np.testing.assert_allclose(states.position, expected.position, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(infos.is_accepted, expected_infos.is_accepted)
    assert expected_infos.trajectory is None
    np.testing.assert_array_equal(infos.trajectory.status, pm.Status.CONVERGED)
    assert np.all(infos.trajectory.num_iterations < 29)


def test_hmc_may_be_parallel_over_the_chain_and_inside_its_trajectories(x64):
    position = jnp.zeros(3)
    transition = pm.hmc(gaussian, 0.1, COVARIANCE, 15, integrator=pm.parallel_integrator()).at(
        position
    )
    state = transition.init(position)
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(0), 20), state)
    expected = jax.jit(functools.partial(pm.run_sequential, transition))(state, inputs)[1][0]
    solve = functools.partial(pm.run_parallel, transition, solver=pm.jacobi())
    _, (states, _), info = jax.jit(solve)(state, inputs)
    assert int(info.status) == pm.Status.CONVERGED
    np.testing.assert_allclose(states.position, expected.position, rtol=0, atol=1e-8)


@pytest.mark.parametrize("metric", [pytest.param("diagonal", marks=pytest.mark.thorough), "dense"])
def test_blackjax_hmc_with_one_call_equals_velocity_verlet_with_many(metric, x64):
    inverse_mass_matrix = COVARIANCE if metric == "dense" else np.diag(COVARIANCE)

    def logdensity_fn(x):
        return gaussian(jnp.concatenate([x["b"], x["a"][None]]))

    def chain(num_integration_steps, **kwargs):
        kernel = blackjax.hmc(
            logdensity_fn, 0.05, inverse_mass_matrix, num_integration_steps, **kwargs
        )
        state = kernel.init({"a": jnp.zeros(()), "b": jnp.ones(2)})

        def body(state, key):
            state, info = kernel.step(key, state)
            return state, (state, info.is_accepted)

        keys = jax.random.split(jax.random.key(0), 20)
        return jax.jit(lambda: jax.lax.scan(body, state, keys)[1])()

    states, accepted = chain(1, integrator=pm.blackjax_integrator(24))
    expected, expected_accepted = chain(24)
    np.testing.assert_array_equal(accepted, expected_accepted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-8), states, expected)


def test_an_integrator_without_a_step_is_an_error():
    with pytest.raises(ValueError, match=r"num_steps must be at least 1, got 0"):
        pm.blackjax_integrator(0)


# The linearisation ------------------------------------------------------------------------


def mixed(x, u):
    """Every output depends on every input."""
    return jnp.sin(jnp.arange(1.0, 7.0)[:, None] * u + jnp.arange(6.0)) @ x + x**2


def test_exact_blocks_are_the_diagonals_of_the_four_blocks(x64):
    x, u = jax.random.normal(jax.random.key(0), (5, 6)), jnp.arange(5.0)
    f_values, blocks = pm.exact_blocks()(mixed, x, u)
    np.testing.assert_allclose(f_values, jax.vmap(mixed)(x, u), rtol=1e-12)
    J = jax.vmap(jax.jacfwd(mixed))(x, u).reshape(5, 2, 3, 2, 3)
    expected = [jnp.einsum("tii->ti", J[:, i, :, j]) for i in (0, 1) for j in (0, 1)]
    assert isinstance(blocks, Block2x2)
    for block, of_jacobian in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block, of_jacobian, rtol=1e-10, atol=1e-12)


def test_blocks_from_probes_are_unbiased_and_exact_where_the_blocks_are_diagonal(x64):
    x, u = jax.random.normal(jax.random.key(0), (5, 6)), jnp.arange(5.0)
    exact = pm.exact_blocks()(mixed, x, u)[1]
    estimate = pm.hutchinson_blocks(20_000)(mixed, x, u, jax.random.key(1))[1]
    for a, b in zip(estimate, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=0.06)  # 4 standard deviations of 2 / sqrt(20,000)

    def turn(x, u):
        q, p = jnp.split(x, 2)
        return jnp.concatenate([q + u * p, p - u * jnp.sin(q)])

    one, exact = (
        pm.hutchinson_blocks()(turn, x, u, jax.random.key(1)),
        pm.exact_blocks()(turn, x, u),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), one, exact)


@pytest.mark.parametrize("linearize", [pm.exact_blocks(), pm.hutchinson_blocks()])
def test_a_state_without_two_halves_is_an_error(linearize):
    with pytest.raises(ValueError, match=r"two halves.*got 3 numbers"):
        pm.solve(
            lambda x, u: x + u,
            jnp.zeros(3),
            jnp.ones((4, 3)),
            solver=pm.block_quasi_deer(linearize),
        )


def test_less_than_one_probe_is_an_error():
    with pytest.raises(ValueError, match=r"num_probes must be at least 1, got 0"):
        pm.hutchinson_blocks(0)
