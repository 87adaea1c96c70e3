"""What runs on a GPU, run here: trees for loops, ranks for counts, no branch and no frontier steps.

Where a program depends on its device, the branch of other devices than a CPU is taken.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

T = 600


@pytest.fixture(scope="module", autouse=True)
def other_device():
    def other(*args, cpu, default):
        return default(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", other)
        jax.clear_caches()
        yield
    jax.clear_caches()


def decides(x, u):
    """A recursion with a decision, which forgets."""
    x = 0.6 * x + u[:2]
    return jnp.where(x[0] > u[2], 0.5 * x, x)


def counts(n, u):
    return jnp.where(n == 0, n + 1, jnp.where(u[0] < 0.45, n + 1, n - 1))


SOLVERS = [pm.deer(), pm.quasi_deer(), pm.jacobi(), pm.elk(), pm.quasi_elk()]


@pytest.mark.parametrize("window", [None, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_the_chain_is_the_same(solver, window, sequential_chain):
    u = jax.random.normal(jax.random.key(0), (T, 3))
    solution = pm.solve(decides, jnp.zeros(2), u, solver=solver, window=window)
    expected = sequential_chain(decides, jnp.zeros(2), u)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-5)
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.frontier) == T


@pytest.mark.parametrize("window", [None, 100])
def test_what_is_not_solved_is_finished(window, sequential_chain):
    u = jax.random.normal(jax.random.key(0), (T, 3))
    with pytest.warns(pm.ConvergenceWarning):
        solution = pm.solve(
            decides, jnp.zeros(2), u, solver=pm.jacobi(max_iterations=5), window=window
        )
    assert int(solution.info.num_sequential_steps) > 0
    np.testing.assert_allclose(
        solution.trajectory, sequential_chain(decides, jnp.zeros(2), u), atol=1e-5
    )


def test_counters_are_exact():
    u = jax.random.uniform(jax.random.key(0), (T, 1))
    solution = pm.solve(counts, jnp.zeros(1), u, solver=pm.deer())
    expected = pm.solve(counts, jnp.zeros(1), u, solver=pm.sequential())
    np.testing.assert_array_equal(solution.trajectory, expected.trajectory)


def test_maps_of_solved_steps_do_not_overflow():
    # Chaotic: a tree composes the maps of all steps, also of those with nothing to correct.
    u = jnp.zeros((300, 1))
    solver = pm.deer(max_iterations=302)
    solution = pm.solve(lambda x, u: jnp.sin(20 * x), jnp.full(1, 0.3), u, solver=solver)
    assert int(solution.info.status) == pm.Status.CONVERGED


def test_each_of_several_chains_is_solved():
    u = jax.random.normal(jax.random.key(0), (3, T, 3))

    def solve(solver):
        return jax.vmap(lambda u: pm.solve(decides, jnp.zeros(2), u, solver=solver))(u)

    solution, expected = solve(pm.quasi_deer()), solve(pm.sequential())
    np.testing.assert_allclose(solution.trajectory, expected.trajectory, atol=1e-5)
    assert np.all(np.asarray(solution.info.status) == pm.Status.CONVERGED)


def beside_a_lattice(x, u):
    """A number that forgets slowly, beside one that may not tremble: its moves are of one size."""
    return jnp.stack([0.98 * x[0] + u[0], x[1] + 0.1 * jnp.where(u[1] > 0, 1, -1)])


@pytest.mark.parametrize(
    "solver",
    [pm.deer(), pytest.param(pm.quasi_deer(), marks=pytest.mark.slow)],
    ids=lambda solver: solver.name,
)
def test_chains_that_ask_in_vain_go_on_and_are_right(solver):
    u = jax.random.normal(jax.random.key(0), (4, T, 2))

    def solve(u):
        return pm.solve(beside_a_lattice, jnp.zeros(2), u, solver=solver)

    solution = jax.jit(jax.vmap(solve))(u)
    assert np.all(np.asarray(solution.info.status) == pm.Status.CONVERGED)
    for chain, u_of_it in zip(solution.trajectory, u, strict=True):
        expected = pm.solve(beside_a_lattice, jnp.zeros(2), u_of_it, solver=pm.sequential())
        np.testing.assert_array_equal(chain[:, 1], expected.trajectory[:, 1])
        np.testing.assert_allclose(chain[:, 0], expected.trajectory[:, 0], atol=1e-4)
