"""Ways in which a parallel sampler can return a wrong chain without a word: none happens here.

Each was seen in an implementation that stops when its iterates stop changing. The chain
must be the sequential one, or the report must say what is wrong; mostly both are asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

pytestmark = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
T = 1000


# Kernels with their randomness drawn beforehand, written out ----------------------------


@functools.cache
def hmc(logdensity_fn, num_leapfrogs=8):
    gradient = jax.grad(logdensity_fn)

    def step(x, u):
        def leapfrog(_, qp):
            q, p = qp
            p = p + u["step_size"] / 2 * gradient(q)
            q = q + u["step_size"] * p
            return q, p + u["step_size"] / 2 * gradient(q)

        q, p = jax.lax.fori_loop(0, num_leapfrogs, leapfrog, (x, u["noise"]))
        energy_before = -logdensity_fn(x) + u["noise"] @ u["noise"] / 2
        energy_after = -logdensity_fn(q) + p @ p / 2
        return jnp.where(u["log_uniform"] < energy_before - energy_after, q, x)

    return step


@functools.cache
def mala(logdensity_fn):
    gradient = jax.grad(logdensity_fn)

    def step(x, u):
        eps = u["step_size"]

        def drift(x):
            return x + eps * gradient(x)

        y = drift(x) + jnp.sqrt(2 * eps) * u["noise"]
        forward = -jnp.sum((y - drift(x)) ** 2) / (4 * eps)
        backward = -jnp.sum((x - drift(y)) ** 2) / (4 * eps)
        log_ratio = logdensity_fn(y) + backward - logdensity_fn(x) - forward
        return jnp.where(u["log_uniform"] < log_ratio, y, x)

    return step


def draws(step_size, D, dtype=np.float32, seed=0, num_steps=T):
    noise_key, uniform_key = jax.random.split(jax.random.key(seed))
    return {
        "noise": jax.random.normal(noise_key, (num_steps, D), dtype),
        "log_uniform": jnp.log(jax.random.uniform(uniform_key, (num_steps,), dtype)),
        "step_size": jnp.full(num_steps, step_size, dtype),
    }


def banana(x):
    """x1 ~ N(0, 10), x2 ~ N(0.03 (x1^2 - 100), 1)."""
    return -(x[0] ** 2) / 20 - (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2 / 2


def gamma(x):
    """Gamma(3, 1) in each coordinate; its logarithm is NaN outside the support."""
    return jnp.sum(2 * jnp.log(x) - x)


def far_away(x):
    """Mean 1e4, standard deviation 1."""
    return -jnp.sum((x - 1e4) ** 2) / 2


SCALES = np.array([0.1, 0.3, 1.0, 3.0, 10.0])


def many_scales(x):
    """Standard deviations from .1 to 10."""
    return -jnp.sum((x / SCALES.astype(x.dtype)) ** 2) / 2


def assert_right_chain(trajectory, expected, error=1e-3):
    """Equal to the sequential chain, in units of its spread per coordinate.

    Residuals of 1e-5 (float32) or 1e-10 (float64) of the spread accumulate to some 1e-4 at
    most. A wrong chain, or one accept decision that differs, is off by about one.
    """
    expected = np.asarray(expected, float)
    assert np.all(np.isfinite(expected))
    spread = np.std(expected, axis=0)
    np.testing.assert_array_less(
        np.abs(np.asarray(trajectory, float) - expected) / spread, error * np.ones_like(expected)
    )


def assert_says_so(info, num_steps=T):
    """The report agrees with what it says of the steps."""
    by_hand = int(info.num_sequential_steps)
    assert int(info.status) == (pm.Status.FINISHED_SEQUENTIALLY if by_hand else pm.Status.CONVERGED)
    assert (int(info.frontier) == num_steps) == (by_hand == 0)


# Trajectories that diverge on the way ---------------------------------------------------


@quiet
@pytest.mark.parametrize(
    ("solver", "window"),
    [
        (pm.deer(), None),
        (pm.deer(), 128),
        (pm.quasi_deer(), None),
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


@pytest.mark.parametrize("window", [None, 64])
def test_overflow_where_the_map_expands(window, sequential_chain):
    # Products of a thousand derivatives of up to 3: the tangent map overflows, f does not.
    def f(x, u):
        return 3 * jnp.sin(x) + u

    inputs, x0 = jax.random.normal(jax.random.key(0), (T, 1)), jnp.zeros(1)
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


# Values that are not finite -------------------------------------------------------------


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
    np.testing.assert_array_equal(solution.trajectory, sequential_chain(f, x0, inputs))


# Tolerances in the wrong units ----------------------------------------------------------


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


@quiet
@pytest.mark.parametrize("width", [1e3, 1e6])
@pytest.mark.parametrize("beginning", [40, 64])
@pytest.mark.parametrize("window", [None, 64])
def test_a_wide_beginning_does_not_loosen_the_tolerance(
    window, beginning, width, dtype, sequential_chain
):
    # The first window spreads up to a million times as wide as the chain does from there on.
    def f(x, u):
        return 0.1 * x + u

    inputs = jax.random.normal(jax.random.key(0), (T, 1), dtype).at[:beginning].mul(width)
    x0 = jnp.zeros(1, dtype)
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


# Limits that are reached ----------------------------------------------------------------


@pytest.mark.parametrize("max_iterations", [1, 3])
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
