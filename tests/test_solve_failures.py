"""What does not converge, or is not finite, comes out right and is said."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import (
    assert_ended,
    assert_same_chain,
    gated,
    inputs_of,
    quiet,
    x0_of,
)
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("window", [None, 7])
def test_a_limit_that_is_too_low_still_gives_the_chain_and_says_so(window, sequential_chain):
    T = 37
    inputs = inputs_of("expanding", T)
    with pytest.warns(pm.ConvergenceWarning) as caught:
        solution = pm.solve(
            gated, x0_of(), inputs, solver=pm.jacobi(max_iterations=3), window=window
        )
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.FINISHED_SEQUENTIALLY, T)

    (warning,) = caught
    info = solution.info
    assert f"step {int(info.frontier)}" in str(warning.message)
    assert f"{int(info.num_sequential_steps)} steps" in str(warning.message)
    assert re.search(r"residual \d\.\de[-+]\d+", str(warning.message))
    assert re.search(r"[Tt]ry .*(window|step_size|pm\.)", str(warning.message))
    # It points at the line that called solve.
    assert warning.filename == __file__


def test_raising_loses_nothing(sequential_chain):
    inputs = inputs_of("expanding", 37)
    with pytest.raises(pm.ConvergenceError, match=r"residual .* at step \d+") as caught:
        pm.solve(gated, x0_of(), inputs, solver=pm.jacobi(max_iterations=3), on_failure="raise")
    result = caught.value.result
    assert_same_chain(result.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(result.info, pm.Status.FINISHED_SEQUENTIALLY, 37)


@quiet
@pytest.mark.parametrize("max_iterations", [1, 2])
def test_with_hardly_an_iteration_the_chain_is_still_right(max_iterations, sequential_chain):
    inputs = inputs_of("piecewise", 37)
    solver = pm.jacobi(max_iterations=max_iterations)
    solution = pm.solve(gated, x0_of(), inputs, solver=solver)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.FINISHED_SEQUENTIALLY, 37)


def falls(x, u):
    """The square root leaves its domain, for good, where the sum turns negative."""
    return jnp.sqrt(x) + u


@pytest.mark.parametrize(
    ("name", "window"),
    [("deer", None), ("deer", 7), ("quasi_deer", 7), ("jacobi", None), ("sequential", None)],
)
@pytest.mark.parametrize("bad_step", [0, 17, 36])
def test_a_recursion_that_becomes_nan_is_never_converged(name, window, bad_step, sequential_chain):
    T = 37
    inputs = np.abs(np.random.default_rng(0).normal(size=(T, 2))).astype(np.float32) + 0.1
    inputs[bad_step, 1] = -np.inf if bad_step == 36 else -50.0
    expected = sequential_chain(falls, jnp.ones(2), inputs)
    assert not np.all(np.isfinite(expected))
    assert np.all(np.isfinite(expected[:bad_step]))
    with pytest.warns(pm.ConvergenceWarning, match="non-finite"):
        solution = pm.solve(falls, jnp.ones(2), inputs, solver=SOLVERS[name], window=window)
    assert int(solution.info.status) == pm.Status.NON_FINITE
    # NaN and infinity at the same places, and the finite states within rounding.
    np.testing.assert_allclose(solution.trajectory, expected, rtol=1e-5)


def recovers(x, u):
    """Infinite where the divisor is zero, and finite again at the next step."""
    return 0.5 * jnp.tanh(jnp.where(jnp.isfinite(x), x, 2.0)) + u["noise"] / u["divisor"]


@pytest.mark.parametrize(
    ("name", "window"), [("deer", 7), ("jacobi", None), ("jacobi", 7), ("sequential", None)]
)
@pytest.mark.parametrize("bad_step", [0, 6, 7, 8, 17])
def test_a_recursion_may_pass_through_infinity(name, window, bad_step, sequential_chain):
    noise = jax.random.normal(jax.random.key(0), (37, 2))
    inputs = {"noise": noise, "divisor": jnp.ones(37).at[bad_step].set(0.0)}
    expected = sequential_chain(recovers, jnp.zeros(2), inputs)
    assert np.array_equal(np.flatnonzero(np.isinf(expected).any(axis=1)), [bad_step])
    with pytest.warns(pm.ConvergenceWarning, match="non-finite"):
        solution = pm.solve(recovers, jnp.zeros(2), inputs, solver=SOLVERS[name], window=window)
    assert int(solution.info.status) == pm.Status.NON_FINITE
    np.testing.assert_allclose(solution.trajectory, expected, rtol=1e-4, atol=1e-5)


@quiet
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_what_f_makes_of_it(value, window, sequential_chain):
    noise = jax.random.normal(jax.random.key(0), (37, 2))
    inputs, x0 = {"noise": noise, "divisor": jnp.ones(37)}, jnp.array([value, 1.0])
    solution = pm.solve(recovers, x0, inputs, solver=pm.jacobi(), window=window)
    expected = sequential_chain(recovers, x0, inputs)
    assert np.all(np.isfinite(expected))
    assert_same_chain(solution.trajectory, expected)


def test_raising_holds_for_a_recursion_that_is_not_finite():
    inputs = jnp.ones((37, 2)).at[17].set(-50.0)
    with pytest.raises(pm.ConvergenceError, match="non-finite") as caught:
        pm.solve(falls, jnp.ones(2), inputs, on_failure="raise", solver=pm.deer())
    assert int(caught.value.result.info.status) == pm.Status.NON_FINITE


def test_a_derivative_that_is_not_finite_is_kept_out_and_counted(sequential_chain):
    # The square root at zero: f is finite, its derivative is not.
    def f(x, u):
        return jnp.sqrt(jnp.abs(x)) * u

    inputs = jax.random.uniform(jax.random.key(0), (37, 2)).at[::5].set(0.0)
    solution = pm.solve(f, jnp.ones(2), inputs, solver=SOLVERS["exact_diagonal"])
    assert_same_chain(solution.trajectory, sequential_chain(f, jnp.ones(2), inputs))
    assert_ended(solution.info, pm.Status.CONVERGED, 37)
    assert int(solution.info.num_resets) > 0


def test_a_warning_is_not_given_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pm.solve(gated, x0_of(), inputs_of("contracting", 37), solver=pm.deer())
