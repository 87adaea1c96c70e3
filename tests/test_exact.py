"""A solve is right to the last bit where that matters, and says so where it is not.

Discrete recursions look at the very value of their state, and steps of a few ulp are a chain, too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from benchmarks import torture
from parallel_mcmc._core import report
from parallel_mcmc._core.constants import NOISE
from parallel_mcmc._core.tolerance import grain
from parallel_mcmc._core.trembling import on_lattice

T, CHAINS = 1_000, 8
KINDS = [
    "reflected", "queue", "reset", "large_counts", "fractions", "lattice", "saturating",
    "counted_beside", "in_fine_cells", "tiny_steps",
]  # fmt: skip


def reflected(n, u):
    """A random walk that 0 sends back: an offset of an ulp never meets it."""
    return jnp.where(n == 0, n + 1, jnp.where(u[0] < 0.45, n + 1, n - 1))


def forgetting_slowly(x, u):
    return 0.97 * x + u[0] - 0.5


def solved(f, solver, dtype):
    """Solutions of several chains, and those step by step."""
    keys = jax.random.split(jax.random.key(0), CHAINS)
    u = jax.vmap(lambda key: jax.random.uniform(key, (T, 2), dtype))(keys)

    def solve(solver):
        def one(u):
            return pm.solve(f, jnp.zeros(1, dtype), u, solver=solver)

        return jax.jit(jax.vmap(one))(u)

    return solve(solver), solve(pm.sequential()).trajectory


# By default each kind meets one or two of the first three solvers, each of them in one precision.
SOLVES = [
    ("deer", None), ("jacobi", None), ("jacobi, then deer", None),
    ("quasi-deer", 128), ("picard", 128),
]  # fmt: skip
CELLS = [
    pytest.param(
        kind, *solve, dtype, marks=() if j < 3 and (i + j + k) % 4 == 0 else pytest.mark.slow
    )
    for i, kind in enumerate(KINDS)
    for j, solve in enumerate(SOLVES)
    for k, dtype in enumerate(("float32", "float64"))
]


@pytest.mark.parametrize("kind, solver, window, dtype", CELLS)
def test_no_chain_is_wrong_in_silence(kind, solver, window, dtype):
    result = torture.measured(kind, dtype, solver, window)
    assert result["num_silent"] == 0
    assert result["num_wrong_when_told"] == 0  # what was told was finished step by step
    assert result["num_wrong_steps"] == 0
    assert result["num_equal"] + result["num_told"] == result["chains"]


@pytest.mark.parametrize(
    "solver", [pm.deer(), pm.quasi_deer(), pm.picard()], ids=lambda solver: solver.name
)
def test_counters_are_exact(solver, dtype):
    solution, expected = solved(reflected, solver, dtype)
    np.testing.assert_array_equal(solution.trajectory, expected)
    assert np.all(np.asarray(solution.info.status) == pm.Status.CONVERGED)
    assert not np.any(solution.info.num_trembling)


@pytest.mark.parametrize("solver", [pm.deer(), pm.picard()], ids=lambda solver: solver.name)
def test_steps_of_an_ulp_are_made(solver):
    kernel = pm.random_walk(lambda x: -jnp.sum((x - 1e6) ** 2) / 2, 0.1)
    position = jnp.full(1, 1e6)  # ulp: 0.06
    trace = pm.sample(jax.random.key(0), kernel, position, 1_000, solver=solver)
    expected = pm.sample(jax.random.key(0), kernel, position, 1_000, solver=pm.sequential())
    np.testing.assert_array_equal(trace.position, expected.position)
    assert not np.any(trace.solve.num_trembling)


def test_moves_of_few_sizes_make_a_lattice(dtype):
    noise = jnp.full((T, 5), 1e-5, dtype)
    sizes = np.random.default_rng(0).normal(size=T)
    signs, turn = np.sign(sizes), np.arange(T) % 3
    few = [
        signs * 0.28,
        np.where(sizes > 0, 0.3, 0.5 * sizes),
        signs * turn,
        signs * (np.arange(T) % 10 == 0),
    ]
    sizes = np.stack([sizes, *few], axis=1)
    own = jnp.asarray(sizes, dtype)
    np.testing.assert_array_equal(on_lattice(own, noise), [False, *[True] * 4])
    assert not np.any(on_lattice(own, 2 * jnp.abs(own)))  # chains that stand still


def test_what_trembles_is_counted_and_told():
    solution, _ = solved(forgetting_slowly, pm.deer(), np.float32)
    trembling = np.asarray(solution.info.num_trembling)
    assert np.all(trembling > T / 10)  # 22 to 44 % of the steps
    assert f"{trembling.sum():,} steps right up to rounding" in report.remarks(solution.info)


def test_a_count_at_the_edge_of_a_decision_does_not_keep_the_rest_from_standing(dtype):
    """The count is exact, and so nothing hangs on how the decision comes out beside it."""

    def recursion(x, u):
        count = jnp.floor(3 * u[1])
        return jnp.stack([0.98 * x[0] + u[0] + jnp.where(count > 0, 0.1, -0.1), count])

    u = jax.random.uniform(jax.random.key(0), (2_048, 2), dtype)
    solution = pm.solve(recursion, jnp.zeros(2, dtype), u, solver=pm.deer())
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_iterations) <= 10
    assert int(solution.info.num_trembling) > 0


@pytest.mark.parametrize("window", [None, 256])
def test_states_are_as_near_by_jacobi_as_by_newton(window, dtype):
    """By a hundredth an iteration residuals come down, and errors are thirty times as large."""
    scale = NOISE * grain(dtype)  # of a residual that rounding may make
    u = jax.random.uniform(jax.random.key(0), (2_000, 2), dtype)

    def solve(solver):
        x0 = jnp.zeros(1, dtype)
        return pm.solve(forgetting_slowly, x0, u, solver=solver, window=window)

    with jax.enable_x64(dtype == np.float64):
        solution = solve(pm.jacobi(max_iterations=2_000))
        expected = solve(pm.sequential()).trajectory
    assert int(solution.info.status) == pm.Status.CONVERGED
    expected = np.asarray(expected)
    error = np.abs(np.asarray(solution.trajectory) - expected).max() / np.std(expected)
    # Up to 0.6 times the noise, and nearly 6 times it if it is not asked how residuals fell.
    assert error < scale


def test_an_iterate_that_is_given_says_nothing_of_how_residuals_fall():
    with jax.enable_x64(True):
        u = jax.random.uniform(jax.random.key(0), (2_000, 2))
        expected = pm.solve(forgetting_slowly, jnp.zeros(1), u, solver=pm.sequential()).trajectory
        guess = expected + 1e-10 * jnp.std(expected)
        solution = pm.solve(
            forgetting_slowly,
            jnp.zeros(1),
            u,
            solver=pm.jacobi(max_iterations=2_000),
            guess=guess,
        )
    expected = np.asarray(expected)
    error = np.abs(np.asarray(solution.trajectory) - expected).max() / np.std(expected)
    assert error < 4 * grain("float64")  # a hundredth of the guess's


@pytest.mark.parametrize("solver", [pm.deer(), pm.quasi_deer()], ids=lambda solver: solver.name)
def test_a_coordinate_far_from_zero_shares_its_rounding_with_the_others(solver):
    """As the metric of a regression that is not centred leaves one; here at 500 spreads."""
    turn = np.array([[1, 1], [1, -1]]) / np.sqrt(2)

    def regression(x, u):
        slope = jnp.where(x[0] > 0.3, 0.97, 0.95)
        return turn.T @ (slope * (turn @ x)) + (1 - slope) * jnp.array([0, 2_000.0]) + u

    with jax.enable_x64(True):
        u = jax.random.normal(jax.random.key(0), (T, 2))
        x0 = jnp.array([0, 2_000.0])
        solution = pm.solve(regression, x0, u, solver=solver)
        expected = pm.solve(regression, x0, u, solver=pm.sequential()).trajectory
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_iterations) <= 20  # 200 are not enough for the noise of each alone
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-10)


@pytest.mark.parametrize("solver", [pm.deer(), pm.jacobi()], ids=lambda solver: solver.name)
def test_a_coordinate_that_leaves_zero_for_good_keeps_no_other_back(solver):
    def with_flag(x, u):
        return jnp.stack([0.5 * x[0] + u[0], jnp.ones(())])

    u = jax.random.normal(jax.random.key(0), (300, 1))
    info = pm.solve(with_flag, jnp.zeros(2), u, solver=solver).info
    assert int(info.status) == pm.Status.CONVERGED and int(info.num_iterations) <= 40


@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
@pytest.mark.parametrize("window, tol", [(None, 1e-2), (40, 1e-2), (150, 1e-2)])
def test_an_early_stop_does_not_believe_the_spread_of_poor_iterates(window, tol):
    # From far out, where Picard's first iterates are further out than the chain ever is.
    u, x0 = jax.random.normal(jax.random.key(0), (300, 1)), jnp.full(1, 1e4)

    def solve(solver, window=None):
        return pm.solve(lambda x, u: 0.97 * x + u, x0, u, solver=solver, window=window)

    solution, exact = solve(pm.picard(tol=tol), window), solve(pm.sequential())
    # Each residual is within tol spreads, and 33 add up.
    allowed = 33 * tol * np.std(exact.trajectory)
    np.testing.assert_allclose(solution.trajectory, exact.trajectory, atol=allowed)


def test_a_tolerance_that_is_asked_for_is_an_early_stop():
    solvers = pm.jacobi(tol=1e-2), pm.jacobi(max_iterations=T)
    early, exact = (
        pm.solve(forgetting_slowly, jnp.zeros(1), jnp.full((T, 2), 0.7), solver=solver).info
        for solver in solvers
    )
    assert int(early.num_iterations) < int(exact.num_iterations)
