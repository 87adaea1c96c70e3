"""`solve` returns the sequential trajectory, for any recursion and any tree of states."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import (
    MIX,
    PARALLEL,
    WINDOWS,
    assert_ended,
    assert_same_chain,
    gated,
    inputs_of,
    quiet,
    residuals,
    spread,
    x0_of,
)
from solver_table import SOLVERS

import parallel_mcmc as pm
from parallel_mcmc import targets
from parallel_mcmc._core.tolerance import grain

pytestmark = pytest.mark.slow


SIZES = [(32, 37, 7), (32, 1000, None), (64, 1, None), (64, 1000, 64)]
KINDS = ["contracting", "expanding", "piecewise"]


@pytest.mark.parametrize(("precision", "T", "window"), SIZES)
@pytest.mark.parametrize("name", PARALLEL)
def test_every_solver_recovers_the_sequential_trajectory(
    name, precision, T, window, sequential_chain
):
    dtype = np.dtype(f"float{precision}")
    with jax.enable_x64(precision == 64):
        for kind in KINDS:
            x0, inputs = x0_of(dtype), inputs_of(kind, T, dtype)
            # T + 1 iterations always suffice: T to make the chain exact, one to see it.
            solver = replace(SOLVERS[name], max_iterations=T + 1)
            solution = pm.solve(gated, x0, inputs, solver=solver, window=window)
            expected = sequential_chain(gated, x0, inputs)
            assert_same_chain(solution.trajectory, expected)
            # What trembles does so within 512 grains of the spread (`constants.PROPORTION`), of
            # which a solve sees a sample: hence 2. And f is evaluated twice.
            allowed = 2 * 512 * grain(expected.dtype) * spread(expected)
            allowed = allowed + 8 * np.finfo(expected.dtype).eps * np.abs(expected).max(axis=0)
            assert np.all(residuals(gated, x0, inputs, solution.trajectory) <= allowed)
            assert_ended(solution.info, pm.Status.CONVERGED, T)


def test_windows_of_unequal_spread_converge_all_the_same():
    def f(x, u):
        return 0.7 * x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, 3))
    info = pm.solve(f, jnp.zeros(3), inputs, solver=pm.jacobi(), window=64).info
    assert_ended(info, pm.Status.CONVERGED, 1000)


@pytest.mark.parametrize("T", [1, 37, 1000])
def test_the_sequential_solver_is_the_sequential_trajectory(T, dtype, sequential_chain):
    x0, inputs = x0_of(dtype), inputs_of("piecewise", T, dtype)
    solution = pm.solve(gated, x0, inputs, solver=pm.sequential())
    np.testing.assert_array_equal(solution.trajectory, sequential_chain(gated, x0, inputs))
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_iterations) == 0
    assert int(solution.info.num_sequential_steps) == T


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("T", [1, 37, 1000])
def test_no_window_changes_the_trajectory(T, window, sequential_chain):
    inputs = inputs_of("piecewise", T)
    solver = pm.jacobi(max_iterations=T + 1)
    solution = pm.solve(gated, x0_of(), inputs, solver=solver, window=window)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.CONVERGED, T)


@pytest.mark.parametrize("name", ["deer", "jacobi"])
def test_a_chaotic_recursion_is_solved_step_by_step_within_tolerance(name, x64):
    # The logistic map doubles a perturbation per step, so that no two ways to round agree
    # for long. What holds: the residual at every step, and the bound from it.
    def logistic(x, u):
        return u * x * (1 - x)

    T, x0 = 60, jnp.array([0.2])
    u = jnp.full((T, 1), 3.99)
    solution = pm.solve(logistic, x0, u, solver=replace(SOLVERS[name], max_iterations=T + 1))
    x = np.asarray(solution.trajectory)
    assert_ended(solution.info, pm.Status.CONVERGED, T)
    allowed = 1.1e-10 * spread(x) + 1e-15
    assert np.all(residuals(logistic, x0, u, solution.trajectory) <= allowed)

    exact, bound = 0.2, 0.0
    for t in range(20):
        bound = allowed[0] + abs(3.99 * (1 - 2 * exact)) * bound + 3.99 * bound**2
        exact = 3.99 * exact * (1 - exact)
        assert abs(x[t, 0] - exact) <= bound + 1e-15
    assert bound < 1e-3


def tree_recursion(state, inputs):
    """A nested state of mixed shapes, driven by random keys."""
    noise = jax.random.normal(inputs["key"], (2, 3))
    weights = 0.5 * jnp.tanh(state["layer"]["weights"]) + noise
    bias = 0.5 * state["layer"]["bias"] + jnp.sum(weights, axis=0)
    return {"layer": {"weights": weights, "bias": bias}, "level": jnp.cos(state["level"] * bias[0])}


def tree_x0():
    layer = {"weights": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}
    return {"layer": layer, "level": np.float32(0.5)}


@pytest.mark.parametrize(
    ("make_key", "solver", "window", "scale"),
    [
        (jax.random.key, pm.deer(), None, jax.tree.map(np.ones_like, tree_x0())),
        (jax.random.PRNGKey, pm.jacobi(), 7, None),
    ],
    ids=["typed keys", "raw keys"],
)
def test_any_tree_and_any_keys(make_key, solver, window, scale, sequential_chain):
    inputs = {"key": jax.random.split(make_key(0), 37)}
    expected = sequential_chain(tree_recursion, tree_x0(), inputs)
    solution = pm.solve(
        tree_recursion, tree_x0(), inputs, solver=solver, window=window, scale=scale
    )
    assert jax.tree.structure(solution.trajectory) == jax.tree.structure(expected)
    jax.tree.map(assert_same_chain, solution.trajectory, expected)
    assert solution.trajectory["layer"]["weights"].shape == (37, 2, 3)
    assert solution.trajectory["level"].shape == (37,)
    assert_ended(solution.info, pm.Status.CONVERGED, 37)


def test_a_scalar_state(sequential_chain):
    def f(x, u):
        return 0.5 * jnp.sin(x) + u

    inputs = jax.random.normal(jax.random.key(0), (37,))
    solution = pm.solve(f, jnp.array(0.1), inputs, solver=pm.jacobi())
    assert_same_chain(solution.trajectory, sequential_chain(f, jnp.array(0.1), inputs))


def test_a_float32_state_stays_float32_where_64_bit_is_on(x64, sequential_chain):
    inputs = inputs_of("piecewise", 37, np.float32)
    solution = pm.solve(gated, x0_of(np.float32), inputs, solver=pm.jacobi(), window=7)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(np.float32), inputs))


@quiet
def test_under_jit_the_solution_is_the_same_and_a_failure_is_data():
    def solve(x0, inputs, solver, on_failure="finish"):
        return pm.solve(gated, x0, inputs, window=7, on_failure=on_failure, solver=solver)

    inputs = inputs_of("expanding", 37)
    jitted = jax.jit(lambda *args: solve(*args, on_failure="raise"), static_argnums=2)
    for max_iterations, status in [(38, "CONVERGED"), (3, "FINISHED_SEQUENTIALLY")]:
        solver = pm.deer(max_iterations=max_iterations)
        inside, outside = jitted(x0_of(), inputs, solver), solve(x0_of(), inputs, solver)
        assert_same_chain(inside.trajectory, np.asarray(outside.trajectory))
        assert_ended(inside.info, pm.Status[status], 37)
        assert int(inside.info.frontier) == int(outside.info.frontier)
        assert int(inside.info.num_iterations) == int(outside.info.num_iterations)


@quiet
@pytest.mark.parametrize(("name", "window"), [("exact_diagonal", 7), ("jacobi", None)])
def test_under_vmap_each_chain_is_as_if_alone(name, window, sequential_chain):
    # The last chain turns around the origin and forgets nothing, which Jacobi hands on by one step
    # at a time: it does not come to its end, and must not disturb the others.
    T, kinds = 37, ["contracting", "expanding", "piecewise"]
    chains = [inputs_of(kind, T, seed=seed) for seed, kind in enumerate(kinds)]
    slope = 1 / np.abs(np.linalg.eigvals(MIX)).max()
    chains.append({**chains[0], "slope": jnp.full(T, slope), "noise": 1e-3 * chains[0]["noise"]})
    x0 = jnp.stack([x0_of(), -x0_of(), 2 * x0_of(), 1e-3 * x0_of()])

    def solve(x0, inputs):
        solver = replace(SOLVERS[name], max_iterations=20)
        return pm.solve(gated, x0, inputs, solver=solver, window=window)

    together = jax.vmap(solve)(x0, jax.tree.map(lambda *leaves: jnp.stack(leaves), *chains))
    statuses = []
    for i, inputs in enumerate(chains):
        alone = solve(x0[i], inputs)
        of_chain = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        ends = [(s.info.status, s.info.frontier) for s in (alone, of_chain)]
        np.testing.assert_array_equal(*ends)
        # Programs for one chain and for four round differently: a correction at the very edge of
        # the trust region may cost an iteration in one of them, in some of the five windows.
        more = abs(int(alone.info.num_iterations) - int(of_chain.info.num_iterations))
        assert more <= (1 if window is None else 3)
        assert_same_chain(of_chain.trajectory, np.asarray(alone.trajectory))
        assert_same_chain(of_chain.trajectory, sequential_chain(gated, x0[i], inputs))
        statuses.append(int(alone.info.status))
    if name == "jacobi":
        assert statuses[0] == pm.Status.CONVERGED
        assert statuses[-1] == pm.Status.FINISHED_SEQUENTIALLY


@pytest.mark.parametrize("window", [None, 64])
def test_a_chain_that_stands_still_is_not_followed_step_by_step(window):
    # From out there the fourth proposal is accepted and the next hundreds are rejected, while the
    # iterates have gone to where the accepted ones of later steps would go.
    target = targets.banana()
    position = {"x": jnp.array([-24.424557, -20.356806])}
    trace = pm.sample(
        jax.random.key(3), pm.hmc(target.logdensity_fn, 0.5, None, 8), position, 600,
        solver=pm.deer(), window=window,
    )  # fmt: skip
    x = np.asarray(trace.position["x"][0])
    np.testing.assert_allclose(x[4:], np.broadcast_to(x[4], x[4:].shape), rtol=1e-6)
    assert np.abs(x[4] - x[0]).min() > 10
    # Guesses of 8, 24, 72, ... steps; before there were any, hundreds of iterations.
    assert int(trace.solve.num_iterations[0]) < 30
    assert int(trace.solve.num_resets[0]) > 0 and int(trace.solve.num_sequential_steps[0]) == 0
