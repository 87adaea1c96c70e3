"""No wrong chain where a tolerance could be in the wrong units, or a small change look solved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_kernels import (
    T,
    assert_right_chain,
    assert_says_so,
    draws,
    far_away,
    hmc,
    mala,
    many_scales,
)
from recursions import quiet

import parallel_mcmc as pm


@quiet
@pytest.mark.parametrize("solver", [pm.deer(), pm.jacobi()], ids=lambda solver: solver.name)
def test_a_mean_that_is_large_against_the_standard_deviation(solver, dtype, sequential_chain):
    f, x0, inputs = mala(far_away), jnp.full(2, 1e4, dtype), draws(0.3, 2, dtype)
    expected = sequential_chain(f, x0, inputs)
    solution = pm.solve(f, x0, inputs, solver=solver)
    # A float32 number near 1e4 is known to 1e-3. Four such units are allowed per step, and
    # sum up to 1 / (1 - .7) of that where each step contracts by 1 - .3.
    error = 4 * 1e4 * 2.0**-23 / 0.3 if dtype == np.float32 else 1e-6
    assert_right_chain(solution.trajectory, expected, error=error)
    assert_says_so(solution.info)
    assert int(solution.info.num_iterations) > 1


@quiet
@pytest.mark.parametrize("solver", [pm.deer(), pm.jacobi()], ids=lambda solver: solver.name)
def test_standard_deviations_of_two_orders_of_magnitude(solver, dtype, sequential_chain):
    f, x0, inputs = hmc(many_scales), jnp.zeros(5, dtype), draws(0.12, 5, dtype)
    expected = sequential_chain(f, x0, inputs)
    assert np.std(expected[:, -1]) > 30 * np.std(expected[:, 0])
    solution = pm.solve(f, x0, inputs, solver=solver)
    error = 1e-3 if dtype == np.float32 else 1e-6
    assert_right_chain(solution.trajectory, expected, error=error)
    assert_says_so(solution.info)


def forgets(x, u):
    return 0.1 * x + u


@quiet
@pytest.mark.parametrize("width", [1e3, 1e6])
@pytest.mark.parametrize("beginning", [40, 64])
@pytest.mark.parametrize("window", [None, 64])
def test_a_wide_beginning_does_not_loosen_the_tolerance(
    window, beginning, width, dtype, sequential_chain
):
    # The first window spreads up to a million times as wide as the chain does from there on.
    inputs = jax.random.normal(jax.random.key(0), (T, 1), dtype).at[:beginning].mul(width)
    f, x0 = forgets, jnp.zeros(1, dtype)
    expected = sequential_chain(f, x0, inputs)
    solution = pm.solve(f, x0, inputs, solver=pm.jacobi(), window=window)
    previous = jnp.concatenate([x0[None], solution.trajectory[:-1]])
    residual = np.abs(jax.vmap(f)(previous, inputs) - solution.trajectory)
    lower, upper = np.quantile(expected, [0.25, 0.75])
    # Twice the tolerance of the precision, and eight ulps of the state in question.
    tol, eps = (1e-5 if dtype == np.float32 else 1e-10), np.finfo(dtype).eps
    allowed = 2 * tol * (upper - lower) / 1.349 + 8 * eps * np.abs(expected)
    np.testing.assert_array_less(residual, allowed)
    # Ten steps on, a tenth of an error per step has left nothing of what came in.
    after = np.abs(solution.trajectory - expected)[beginning + 10 :]
    assert after.max() < 4 * tol * np.std(expected[beginning + 10 :])
    assert_says_so(solution.info)
    # What was right is not run again.
    assert int(solution.info.num_sequential_steps) < 200


def test_a_change_that_is_small_is_not_convergence(sequential_chain):
    # Jacobi on a recursion that hardly contracts: the iterates change by a thousandth of
    # the spread, or less, long before the residual is within tolerance anywhere but in front.
    def f(x, u):
        return 0.999 * x + 1e-3 * u

    inputs, x0 = jax.random.normal(jax.random.key(0), (T, 1)), jnp.ones(1)
    with pytest.warns(pm.ConvergenceWarning):
        solution = pm.solve(f, x0, inputs, solver=pm.jacobi(max_iterations=100))
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs))
    assert int(solution.info.frontier) < 110


@pytest.mark.parametrize("make", [pm.picard, pm.elk, pm.auto], ids=lambda make: make.__name__)
def test_a_tolerance_and_a_limit_that_are_none_are_refused(make):
    for tol in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="tol must be at least 0"):
            make(tol=tol)
    with pytest.raises(ValueError, match=r"max_iterations must be at least 1, got 0; pm\.seq"):
        make(max_iterations=0)
