"""No wrong chain where densities, guesses, proposals or steps are not finite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_kernels import T, assert_right_chain, assert_says_so, banana, draws, gamma, hmc, mala
from recursions import quiet

import parallel_mcmc as pm


@quiet
@pytest.mark.parametrize("solver", [pm.deer(), pm.jacobi()], ids=lambda solver: solver.name)
def test_a_log_density_that_is_nan_outside_its_support(solver, sequential_chain):
    f, x0, inputs = mala(gamma), jnp.ones(2), draws(0.3, 2)
    expected = sequential_chain(f, x0, inputs)
    assert np.all(expected > 0)
    # Proposals do leave the support: a good part of the starts of a step is near zero.
    assert np.mean(np.any(expected[:-1] + np.sqrt(0.6) * inputs["noise"][1:] < 0, axis=1)) > 0.02
    solution = pm.solve(f, x0, inputs, solver=solver)
    assert_right_chain(solution.trajectory, expected)
    assert_says_so(solution.info)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 500, T - 1, slice(None)])
def test_a_guess_that_is_not_finite(bad, where, sequential_chain):
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(0.5, 2)
    guess = np.zeros((T, 2), np.float32)
    guess[where, 1] = bad
    solution = pm.solve(f, x0, inputs, guess=guess, solver=pm.deer())
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs))
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_iterations) > 1
    assert int(solution.info.num_resets) >= np.sum(~np.isfinite(guess))


@functools.cache
def to_infinity(blend):
    """Metropolis whose proposal is infinite, and rejected, where the divisor is zero."""

    def f(x, u):
        y = 0.5 * x + u["noise"] / u["divisor"]
        accept = -jnp.sum(y**2) / 2 + jnp.sum(x**2) / 2 > u["log_uniform"]
        if blend:
            g = accept.astype(x.dtype)
            return g * y + (1 - g) * x
        return jnp.where(accept, y, x)

    return f


def infinite_proposals():
    divisor = jnp.ones(T).at[::7].set(0.0)
    return {**draws(1.0, 2), "divisor": divisor}


@pytest.mark.parametrize(
    "solver", [pm.deer(), pm.quasi_deer(), pm.jacobi()], ids=lambda solver: solver.name
)
def test_an_infinite_proposal_that_is_rejected(solver, sequential_chain):
    f, x0, inputs = to_infinity(blend=False), jnp.ones(2), infinite_proposals()
    expected = sequential_chain(f, x0, inputs)
    np.testing.assert_array_equal(expected[7::7], expected[6:-1:7])
    solution = pm.solve(f, x0, inputs, solver=solver)
    assert_right_chain(solution.trajectory, expected)
    assert int(solution.info.status) == pm.Status.CONVERGED


def test_an_accept_step_written_as_a_blend_is_reported(sequential_chain):
    # g y + (1 - g) x with g = 0 and y infinite is NaN, sequentially too: that is no chain.
    f, x0 = to_infinity(blend=True), jnp.ones(2)
    inputs = jax.tree.map(lambda u: jnp.roll(u, 3, axis=0), infinite_proposals())
    expected = sequential_chain(f, x0, inputs)
    first = np.argmin(np.all(np.isfinite(expected), axis=1))
    for solver in (pm.deer(), pm.sequential()):
        with pytest.warns(pm.ConvergenceWarning, match=f"non-finite state after step {first};"):
            solution = pm.solve(f, x0, inputs, solver=solver)
        assert int(solution.info.status) == pm.Status.NON_FINITE
        np.testing.assert_array_equal(solution.trajectory[:first], expected[:first])
        assert not np.any(np.all(np.isfinite(solution.trajectory[first:]), axis=1))


def test_steps_without_a_value_do_not_end_a_solve(sequential_chain):
    # From x0 every third step has no value; the chain never needs one of those.
    def f(x, u):
        return jnp.sqrt(x + u) + 1

    inputs = jax.random.uniform(jax.random.key(0), (T, 1), minval=-0.5, maxval=0.9)
    inputs = inputs.at[0].set(0.5)
    assert np.mean(np.isnan(jax.vmap(lambda u: f(jnp.zeros(1), u))(inputs))) > 0.25
    solution = pm.solve(f, jnp.zeros(1), inputs, solver=pm.deer())
    assert_right_chain(solution.trajectory, sequential_chain(f, jnp.zeros(1), inputs))
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_resets) > 0
