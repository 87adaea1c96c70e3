"""No wrong chain where iterates diverge on the way, or a limit on them is reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_kernels import T, assert_right_chain, assert_says_so, banana, draws, hmc
from recursions import quiet

import parallel_mcmc as pm


@quiet
@pytest.mark.parametrize(
    ("solver", "window"),
    [
        (pm.deer(), None),
        (pm.deer(), 128),
        pytest.param(pm.quasi_deer(), None, marks=pytest.mark.slow),
        (pm.picard(), None),
        (pm.jacobi(), None),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_banana_at_step_size_one(solver, window, sequential_chain):
    # Half of the Jacobians have a norm above 1, and a NaN that becomes 0 becomes (0, 0).
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(1.0, 2)
    expected = sequential_chain(f, x0, inputs)
    solution = pm.solve(f, x0, inputs, solver=solver, window=window)
    assert_right_chain(solution.trajectory, expected)
    assert_says_so(solution.info)
    assert not np.any(np.all(np.asarray(solution.trajectory[1:]) == 0, axis=1))


def test_the_banana_at_step_size_one_in_double_precision(x64, sequential_chain):
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(1.0, 2, np.float64)
    solution = pm.solve(f, x0, inputs, solver=pm.deer())
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs), error=1e-6)
    assert int(solution.info.status) == pm.Status.CONVERGED


@quiet
@pytest.mark.parametrize("step_size", [0.5, 1.0])
def test_the_banana_without_a_limit_on_the_norm(step_size, sequential_chain):
    # Plain Newton: iterates of 1e27 in most of a window have been seen here.
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(step_size, 2, seed=1)
    solution = pm.solve(f, x0, inputs, solver=pm.deer(max_norm=None), window=512)
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs))
    assert_says_so(solution.info)


@quiet
def test_iterates_far_out_do_not_set_their_own_tolerance(sequential_chain):
    # Half of each window at 1e27 or so, which is a stationary point of the kernel: from there
    # every proposal is rejected. In units of that spread the other half looks solved.
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(0.5, 2)
    row = np.arange(T)
    far = np.where(row % 2, 1e27, -1e27) * np.random.default_rng(0).uniform(size=T)
    guess = np.where(row % 512 < 200, far * 1e-7, far)[:, None] * np.ones(2)
    solution = pm.solve(
        f, x0, inputs, window=512, guess=jnp.asarray(guess, jnp.float32), solver=pm.deer()
    )
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs))
    # Nothing wrong was accepted, to be found out and run anew in the end.
    assert int(solution.info.frontier) >= 512


def expands(x, u):
    return 3 * jnp.sin(x) + u


@pytest.mark.parametrize("window", [None, 64])
def test_overflow_where_the_map_expands(window, sequential_chain):
    # Products of a thousand derivatives of up to 3: the tangent map overflows, f does not.
    f, inputs, x0 = expands, jax.random.normal(jax.random.key(0), (T, 1)), jnp.zeros(1)
    solver = pm.deer(max_norm=None, max_iterations=20)
    with pytest.warns(pm.ConvergenceWarning):
        solution = pm.solve(f, x0, inputs, solver=solver, window=window)
    assert int(solution.info.num_resets) > 0
    assert_says_so(solution.info)
    # Perturbations grow here, so that the chains agree bit by bit for a while only;
    # what remains true is every single step.
    previous = jnp.concatenate([x0[None], solution.trajectory[:-1]])
    residual = np.abs(jax.vmap(f)(previous, inputs) - solution.trajectory)
    # The tolerance of float32, twice where a window judges by its own spread, and four ulps of a
    # state below 8.
    tol = 1e-5 if window is None else 2e-5
    assert residual.max() < tol * np.std(solution.trajectory) + 4 * 2.0**-23 * 8
    expected = sequential_chain(f, x0, inputs)
    np.testing.assert_allclose(solution.trajectory[:10], expected[:10], atol=1e-3)


@pytest.mark.parametrize("max_iterations", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("window", [None, 128])
def test_an_iteration_limit_that_is_too_low(max_iterations, window, sequential_chain):
    # With windows of 128, most never come to their end: their steps are run one by one.
    f, x0, inputs = hmc(banana), jnp.zeros(2), draws(1.0, 2)
    with pytest.warns(pm.ConvergenceWarning, match=r"after \d+ iterations"):
        solution = pm.solve(
            f, x0, inputs, window=window, solver=pm.deer(max_iterations=max_iterations)
        )
    assert_right_chain(solution.trajectory, sequential_chain(f, x0, inputs))
    assert int(solution.info.status) == pm.Status.FINISHED_SEQUENTIALLY
    assert 0 < int(solution.info.num_sequential_steps) <= T
