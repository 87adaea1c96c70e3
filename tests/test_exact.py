"""A solve is right to the last bit where that matters, and says so where it is not.

Discrete recursions look at the very value of their state, and steps of a few ulp are a chain, too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

T, CHAINS = 1_000, 8


def reflected(n, u):
    """A random walk that 0 sends back: an offset of an ulp never meets it."""
    return jnp.where(n == 0, n + 1, jnp.where(u[0] < 0.45, n + 1, n - 1))


def queue(n, u):
    return n + jnp.floor(2 * u[0]) - (n > 0) * jnp.floor(2.2 * u[1])


def reset(n, u):
    step = jnp.where(n == 3, 2.0, jnp.where(u[1] < 0.5, 1.0, -1.0))
    return jnp.where(u[0] < 0.02, 0.0, n + step)


def in_fifths(x, u):
    """As `reflected`, on numbers of which rounding says whether they meet 0."""
    return jnp.where(x == 0, x + 0.2, jnp.where(u[0] < 0.5, x + 0.2, x - 0.2))


def fires(x, u):
    """Ten tenths are one, or nearly: that is for rounding to decide."""
    return jnp.where(x >= 1, 0.0, x + 0.1 * (u[0] < 0.5))


def saturating(x, u):
    return jnp.clip(x + 0.3 * (u[0] - 0.5), 0, 1)


def forgetting_slowly(x, u):
    return 0.97 * x + u[0] - 0.5


RECURSIONS = [reflected, queue, reset, in_fifths, fires, saturating, forgetting_slowly]
SOLVERS = [pm.deer(), pm.quasi_deer(), pm.picard(), pm.jacobi()]


def solved(f, solver, dtype, window=None):
    """Solutions of several chains, those step by step, and the inputs."""
    keys = jax.random.split(jax.random.key(0), CHAINS)
    u = jax.vmap(lambda key: jax.random.uniform(key, (T, 2), dtype))(keys)

    def solve(solver, window):
        def one(u):
            return pm.solve(f, jnp.zeros(1, dtype), u, solver=solver, window=window)

        return jax.jit(jax.vmap(one))(u)

    return solve(solver, window), solve(pm.sequential(), None).trajectory


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("f", RECURSIONS, ids=lambda f: f.__name__)
@pytest.mark.slow
def test_no_chain_is_wrong_in_silence(f, solver, window, dtype):
    solution, expected = solved(f, solver, dtype, window)
    # Where something trembles, by ulps of the spread that the chain remembers for 1,000 steps.
    allowed = 1000 * np.finfo(dtype).eps * np.std(expected)
    same = np.all(np.abs(solution.trajectory - expected) <= allowed, axis=(1, 2))
    told = np.asarray(solution.info.status) != pm.Status.CONVERGED
    assert np.all(same | told)
    assert np.all(same)  # what was told was finished step by step


@pytest.mark.parametrize("solver", SOLVERS[:3], ids=lambda solver: solver.name)
def test_counters_are_exact(solver, dtype):
    solution, expected = solved(reflected, solver, dtype)
    np.testing.assert_array_equal(solution.trajectory, expected)
    assert np.all(np.asarray(solution.info.status) == pm.Status.CONVERGED)
    assert not np.any(solution.info.num_trembling)


@pytest.mark.parametrize("solver", [pm.deer(), pm.picard()], ids=lambda solver: solver.name)
def test_steps_of_an_ulp_are_made(solver):
    kernel = pm.random_walk(lambda x: -jnp.sum((x - 1e6) ** 2) / 2, jnp.zeros(1), 0.1)
    position = jnp.full(1, 1e6)  # ulp: 0.06
    trace = pm.sample(jax.random.key(0), kernel, position, 1_000, solver=solver)
    expected = pm.sample(jax.random.key(0), kernel, position, 1_000, solver=pm.sequential())
    np.testing.assert_array_equal(trace.position, expected.position)
    assert not np.any(trace.solve.num_trembling)


def test_what_trembles_is_counted_and_told():
    solution, _ = solved(forgetting_slowly, pm.deer(), np.float32)
    trembling = np.asarray(solution.info.num_trembling)
    assert np.all(trembling > T / 4)
    assert f"{trembling.sum()} steps right up to rounding" in pm.report.remarks(solution.info)


def test_a_tolerance_that_is_asked_for_is_an_early_stop():
    solution = pm.solve(
        forgetting_slowly, jnp.zeros(1), jnp.full((T, 2), 0.7), solver=pm.jacobi(), tol=1e-2
    )
    exact = pm.solve(
        forgetting_slowly, jnp.zeros(1), jnp.full((T, 2), 0.7), solver=pm.jacobi(),
        max_iterations=T,
    )  # fmt: skip
    assert int(solution.info.num_iterations) < int(exact.info.num_iterations)


@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
def test_a_kernel_that_is_another_under_vmap_is_run_step_by_step():
    """The noise of an `rbg` key depends on batching, so that the last pass disagrees everywhere."""
    transition = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2), 0.8)
    state = transition.init(jnp.zeros(2), jax.random.key(1))
    inputs = transition.draw_inputs(jax.random.key(0), 300, state)
    plain = pm.transition.recursion(transition)

    def other(state, inputs):
        u, wrong = inputs
        new, info = transition.step(state, u)
        return jax.tree.map(lambda a, b: jnp.where(wrong, a, b), state, new), info

    def of_the_solve(_):
        return lambda x, inputs: plain(x, inputs[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pm.transition, "recursion", of_the_solve)
        disagrees = jnp.arange(300) % 3 == 0
        kernel = transition._replace(step=other)
        final, (states, _), info = pm.run_parallel(
            kernel, state, (inputs, disagrees), solver=pm.picard()
        )
    expected_final, (expected, _), _ = pm.run_sequential(kernel, state, (inputs, disagrees))
    assert int(info.status) == pm.Status.FINISHED_SEQUENTIALLY
    assert int(info.num_ties) > 30 and int(info.num_sequential_steps) == 300
    np.testing.assert_allclose(states.position, expected.position, rtol=1e-6)
    np.testing.assert_allclose(final.position, expected_final.position, rtol=1e-6)
    assert "came out otherwise" in pm.report.describe_failure(info)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_that_draw_other_numbers_in_a_batch_are_refused(impl):
    key = jax.random.key(0, impl=impl)
    kernel = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
    with pytest.raises(ValueError, match=f"Keys of kind {impl} .*threefry2x32.*sequential"):
        pm.sample(key, kernel, jnp.zeros(2), 10, solver=pm.picard())
    pm.sample(key, kernel, jnp.zeros(2), 10, solver=pm.sequential())
    with pytest.raises(ValueError, match=f"Keys of kind {impl}"):
        pm.solve(
            lambda x, key: 0.5 * x + jax.random.normal(key, (1,)),
            jnp.zeros(1), jax.random.split(key, 10), solver=pm.jacobi(),
        )  # fmt: skip
    mcmc = pm.MCMC(
        pm.ParallelRandomWalk(potential_fn=lambda x: 0.5 * jnp.sum(x**2)),
        num_warmup=5, num_samples=5, progress_bar=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"Keys of kind {impl}"):
        mcmc.run(key, init_params=jnp.zeros(2))
