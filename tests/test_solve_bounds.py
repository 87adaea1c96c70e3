"""How few iterations theory promises, and what guesses, scales and tolerances change."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import (
    PARALLEL,
    D,
    assert_ended,
    assert_same_chain,
    gated,
    inputs_of,
    quiet,
    residuals,
    x0_of,
)
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.slow


@quiet
@pytest.mark.parametrize("name", PARALLEL)
def test_after_i_iterations_the_first_i_states_are_exact(name):
    # Causality, whatever stands in for the Jacobian. The last iteration only looks.
    T = 1000
    x0, inputs = x0_of(), inputs_of("piecewise", T)
    for i in (1, 2, 5, 20, 37):
        info = pm.solve(gated, x0, inputs, solver=replace(SOLVERS[name], max_iterations=i)).info
        assert int(info.num_iterations) <= i
        assert int(info.frontier) >= i - 1
        assert (int(info.frontier) == T) or (
            0 < int(info.num_sequential_steps) <= T - int(info.frontier)
        )


@pytest.mark.parametrize("memory", [1, 7])
def test_jacobi_needs_one_iteration_more_than_the_memory_of_the_recursion(memory, x64):
    # A shift register forgets its start after `memory` steps; one more iteration sees it.
    def shift(x, u):
        return jnp.concatenate([u, x[:-1]])

    inputs = jax.random.normal(jax.random.key(0), (100, 1))
    solution = pm.solve(shift, jnp.full(memory, 9.0), inputs, solver=pm.jacobi())
    padded = np.concatenate([np.full(memory, 9.0)[:, None], inputs])
    expected = np.stack([padded[t : t + memory, 0][::-1] for t in range(1, 101)])
    np.testing.assert_array_equal(solution.trajectory, expected)
    assert int(solution.info.num_iterations) == memory + 1


def test_deer_solves_a_linear_recursion_in_one_iteration_and_looks_again(dtype, sequential_chain):
    # Newton is exact for a linear map, up to rounding: one iteration to solve it, one to see it,
    # one to find that it trembles, and one for the looks at states nearby.
    matrix = (0.9 * np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]).astype(dtype)

    def linear(x, u):
        return matrix @ x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, D), dtype)
    # With its limits Newton may take more, for states beyond the reach of a first step.
    for solver, iterations in [(pm.deer(max_norm=None), 4), (pm.deer(), 6)]:
        solution = pm.solve(linear, x0_of(dtype), inputs, solver=solver)
        assert_same_chain(solution.trajectory, sequential_chain(linear, x0_of(dtype), inputs))
        assert int(solution.info.num_iterations) <= iterations


def test_one_probe_is_newton_for_independent_coordinates():
    def linear(x, u):
        return jnp.array([0.9, -0.5, 0.1]) * x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, D))
    solution = pm.solve(linear, x0_of(), inputs, solver=pm.quasi_deer())
    assert int(solution.info.num_iterations) <= 8
    assert int(solution.info.num_limited) == 0


@pytest.mark.parametrize("solver", [pm.deer(), pm.quasi_deer()], ids=lambda solver: solver.name)
def test_a_stretch_far_out_is_not_left_to_jacobi(solver):
    # 80 times the spread of the chain, and back within 8 of them after some hundred steps, each an
    # iteration of Jacobi. Three are for looking at what trembles.
    inputs = jax.random.normal(jax.random.key(0), (2000, 1)).at[500].add(400.0)
    solution = pm.solve(lambda x, u: 0.98 * x + u, jnp.zeros(1), inputs, solver=solver)
    assert int(solution.info.num_iterations) <= 13


def test_picard_sums_up_a_random_walk_in_a_few_iterations():
    inputs = jax.random.normal(jax.random.key(0), (1000, D))
    solution = pm.solve(lambda x, u: x + u, jnp.zeros(D), inputs, solver=pm.picard())
    expected = np.cumsum(np.asarray(inputs, float), axis=0)
    # A thousand additions of float32 numbers of up to a hundred.
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-3)
    assert int(solution.info.num_iterations) <= 9


def test_a_limit_on_the_norm_is_reported():
    def doubling(x, u):
        return jnp.clip(2 * x, -1, 1) + u

    inputs = 0.3 * jax.random.normal(jax.random.key(0), (37, 1))
    for max_norm, limited in [(1.0, True), (None, False)]:
        solver = pm.quasi_deer(max_norm=max_norm)
        info = pm.solve(doubling, jnp.zeros(1), inputs, solver=solver).info
        assert (int(info.num_limited) > 0) == limited


@pytest.mark.parametrize(("name", "window"), [("deer", 7), ("jacobi", None)])
def test_no_guess_changes_the_trajectory(name, window, sequential_chain):
    T, rng = 37, np.random.default_rng(0)
    inputs = inputs_of("piecewise", T)
    expected = sequential_chain(gated, x0_of(), inputs)
    noise = rng.normal(size=(T, D)).astype(np.float32)
    some = noise.copy()
    some[[0, 5, T - 1], 1] = np.nan, np.inf, -np.inf
    guesses = {
        "random": (noise, 0),
        "a few not finite": (some, 3),
        "all NaN": (np.full((T, D), np.nan, np.float32), T),
        "huge": (1e30 * noise, 0),
    }
    for guess, num_bad in guesses.values():
        solution = pm.solve(
            gated, x0_of(), inputs, solver=SOLVERS[name], window=window, guess=guess
        )
        assert_same_chain(solution.trajectory, expected)
        assert_ended(solution.info, pm.Status.CONVERGED, T)
        assert int(solution.info.num_resets) >= num_bad

    # And with the trajectory itself there is nothing to do but to see that.
    info = pm.solve(
        gated, x0_of(), inputs, solver=SOLVERS[name], window=window, guess=solution.trajectory
    ).info
    assert int(info.num_iterations) == (1 if window is None else -(-T // window))


@pytest.mark.parametrize("window", [None, 7])
def test_a_tolerance_is_in_units_of_the_scale_given(window):
    # The second coordinate is the slowest, so that its scale decides.
    def slow(x, u):
        return jnp.array([0.1, 0.8, 0.1]) * x + u

    inputs = jax.random.normal(jax.random.key(0), (100, D))

    def solve(tol, scale):
        scale = jnp.array([1.0, scale, 1.0])
        return pm.solve(
            slow, jnp.zeros(D), inputs, solver=pm.jacobi(tol=tol), scale=scale, window=window
        )

    for tol, scale in [(1e-2, 1.0), (1e-4, 100.0), (1e-2, 1e-2), (1e-4, 1.0)]:
        x = solve(tol, scale).trajectory
        residual = residuals(slow, jnp.zeros(D), inputs, x).max(axis=0)
        rounding = 8 * np.finfo(np.float32).eps * np.abs(x).max(axis=0)
        assert np.all(residual <= tol * np.array([1.0, scale, 1.0]) + rounding)
    loose, tight = (int(solve(tol, 1.0).info.num_iterations) for tol in (1e-2, 1e-5))
    assert loose < tight


@pytest.mark.parametrize("window", [None, 7])
def test_the_residual_reported_is_that_of_the_trajectory(window):
    inputs = inputs_of("piecewise", 37)
    info = pm.solve(gated, x0_of(), inputs, solver=pm.jacobi(), window=window).info
    # What trembles does so by a few ulps of numbers of a few spreads.
    assert 0 <= float(info.residual) <= 1e-5
