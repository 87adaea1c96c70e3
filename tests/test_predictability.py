"""What is concluded from a Lyapunov exponent: bounds, iterations and words, against solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import chain, linear

import parallel_mcmc as pm
from parallel_mcmc._core.diagnostics import amplification, loop_squares, tree_squares


def wavy(x, u):
    """Contracts by 0.9 at most, at a rate that depends on the state."""
    return 0.9 * jnp.sin(x) + u


def wavier(x, u):
    return wavy(linear(x, u), u)


@pytest.mark.parametrize("f", [linear, wavy], ids=["linear", "nonlinear"])
@pytest.mark.parametrize("tol", [1e-1, 1e-3])
def test_the_error_bound_holds_for_a_loose_solve_and_is_not_idle(x64, f, tol):
    u = jax.random.normal(jax.random.key(3), (300, 3))
    x0 = jnp.zeros(3)
    solution = pm.solve(f, x0, u, solver=pm.jacobi(tol=tol), diagnose=True)
    exact = np.asarray(chain(f, x0, u))
    low, high = np.quantile(exact, [0.25, 0.75], axis=0)
    error = np.max(np.abs(solution.trajectory - exact) / ((high - low) / 1.349))
    assert error > 1e-6  # the solve is loose
    # The spread is taken from some rows of the trajectory, and so within 10 % of this one.
    assert error < 1.1 * float(solution.predictability.error_bound)
    assert float(solution.predictability.error_bound) < 100 * error


def test_the_amplification_is_that_of_the_geometric_sum_within_its_factor(x64):
    x_prev, u, unit = jnp.zeros((500, 1)), jnp.zeros((500, 1)), jnp.ones(1)
    for rho in (0.0, 0.5, 0.9):
        value = amplification(lambda x, u, rho=rho: rho * x + u, x_prev, u, unit, rho)
        assert 1.15 <= float(value) * (1 - rho) <= 1.4143


def test_the_tree_of_error_bounds_is_the_loop(x64):
    x_prev = jax.random.normal(jax.random.key(7), (100, 3))
    factor = np.random.default_rng(1).uniform(0.5, 1.5, (3, 3))
    loop, tree = (
        jax.jit(squares, static_argnums=0)(wavier, x_prev, x_prev, factor)
        for squares in (loop_squares, tree_squares)
    )
    np.testing.assert_allclose(tree, loop, rtol=1e-10)
    assert loop.shape == (100, 3) and np.all(loop[0] == 1) and np.ptp(loop) > 0.1


def test_a_run_of_rejections_is_in_the_amplification(x64):
    # 20 steps in a row with Jacobian 1 add up 20 residuals, whatever the exponent says.
    rates = np.where((np.arange(400) >= 100) & (np.arange(400) < 120), 1.0, 0.3)
    amplified = amplification(
        lambda x, u: u * x, jnp.zeros((400, 1)), jnp.asarray(rates), jnp.ones(1), 0.3
    )
    worst = np.max(chain(lambda e, rate: rate * e + 1, jnp.zeros(()), jnp.asarray(rates)))
    assert worst > 20 > 1 / (1 - 0.3)
    assert worst <= float(amplified) < np.inf


def varying(x, u):
    rate, z = u
    return rate * x + z


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_the_expected_iterations_are_those_of_jacobi(x64, rate):
    z, g = jax.random.normal(jax.random.key(4), (2, 400))
    inputs = rate * jnp.exp(0.2 * g), z
    solution = pm.solve(varying, jnp.zeros(()), inputs, solver=pm.jacobi(), diagnose=True)
    expected = float(solution.predictability.expected_iterations)
    # A rule of thumb, to a factor 1.5.
    assert 1 / 1.5 < expected / int(solution.info.num_iterations) < 1.5


def test_independent_proposals_take_as_many_iterations_as_their_longest_stretch_of_rejections(x64):
    # The state is replaced with probability 0.2, and else kept.
    def f(x, u):
        return jnp.where(u[0] < 0.2, u[1], x)

    u = jax.random.uniform(jax.random.key(6), (2, 500))
    solution = pm.solve(f, jnp.zeros(()), (u[0], u[1]), solver=pm.jacobi(), diagnose=True)
    result = solution.predictability
    assert np.isneginf(result.exponent) and result.standard_error == result.contraction == 0
    assert 1 / 2 < float(result.expected_iterations) / int(solution.info.num_iterations) < 2
    assert "a parallel solve pays" in result.verdict()


def test_an_expanding_chain_has_no_bound_and_needs_every_step(x64):
    u = jnp.zeros(50)
    solver = pm.sequential()
    result = pm.solve(lambda x, u: 2 * x, jnp.ones(()), u, solver=solver, diagnose=True)
    assert float(result.predictability.expected_iterations) == 50
    assert np.isposinf(result.predictability.error_bound)


def test_above_max_dense_the_bound_is_not_computed_and_says_so():
    u = jnp.ones((16, 65))
    solution = pm.solve(lambda x, u: x / 2 + u, u[0], u, solver=pm.jacobi(), diagnose=True)
    assert float(solution.predictability.contraction) == pytest.approx(0.5, rel=1e-5)
    assert np.isnan(solution.predictability.error_bound)


# Words ----------------------------------------------------------------------------------------


def with_exponent(value, error, iterations=20):
    value = np.asarray(value)
    fields = value, error, np.exp(value), iterations, 5.0, 1e-5, 1_000
    return pm.Predictability(*(np.broadcast_to(field, value.shape) for field in fields))


@pytest.mark.parametrize(
    "result, words",
    [
        (with_exponent(-0.42, 0.02), ["forgets", "factor 0.657", "-0.420 +- 0.020", "solve pays"]),
        (with_exponent(-0.42, 0.02, 600), ["forgets", "slowly", "600 iterations", "pm.deer()"]),
        (with_exponent(0.2, 0.02), ["grow by a factor 1.22", "no parallel method", "step_size"]),
        (with_exponent(-0.03, 0.02), ["undecided", "-0.030 +- 0.020", "more steps"]),
        (with_exponent(0.03, 0.02), ["undecided"]),
        (with_exponent(-0.7, np.inf), ["undecided"]),
        (with_exponent(np.nan, np.nan), ["is unknown", "not finite"]),
        (with_exponent(0.0, 0.0), ["random-walk", "pm.picard()"]),
        (with_exponent(np.array([-0.4, 0.2]), 0.02), ["The chain 1 of 2", "grow"]),
    ],
)
def test_the_verdict_says_what_to_do(result, words):
    assert not [word for word in words if word not in result.verdict()]


def test_words_are_not_to_be_had_inside_jit():
    def words(exponent):
        return len(with_exponent(-1.0, 0.1)._replace(exponent=exponent).verdict())

    with pytest.raises(TypeError, match="outside"):
        jax.jit(words)(1.0)


# Kernels -----------------------------------------------------------------------------------


def logdensity_fn(x):
    return -jnp.sum(x["a"] ** 2) / 2


START = {"a": jnp.zeros((2, 2))}
MALA = pm.mala(logdensity_fn, 0.5)


@pytest.fixture(scope="module")
def diagnosed():
    return pm.sample(
        jax.random.key(0), MALA, START, 144, num_chains=2, diagnose=True, solver=pm.deer()
    )


def test_mala_on_a_normal_forgets_by_its_step_size_at_each_acceptance(diagnosed):
    # An accepted step is x + eps (-x) + noise: a factor 1 - eps, and 1 where it is rejected.
    accepted = np.asarray(diagnosed.sample_stats["accepted"], float)
    result = diagnosed.predictability
    # All batches but the first, of 12 steps.
    np.testing.assert_allclose(result.exponent, accepted[:, 12:].mean(1) * np.log(0.5), rtol=1e-4)
    assert np.all((result.contraction > 0.5) & (result.contraction < 0.75))
    assert np.all((result.error_bound >= 0) & (result.error_bound < 1e-3))
    assert "a parallel solve pays" in result.verdict()


def diagnosed_step_by_step(kernel, position, num_steps, num_chains=1, seed=0):
    return pm.sample(
        jax.random.key(seed), kernel, position, num_steps,
        num_chains=num_chains, solver=pm.sequential(), diagnose=True,
    ).predictability  # fmt: skip


def test_a_run_step_by_step_is_diagnosed_as_the_solve(diagnosed):
    alone = diagnosed_step_by_step(MALA, START, 144, num_chains=2)
    np.testing.assert_allclose(alone.exponent, diagnosed.predictability.exponent, rtol=1e-4)
    assert alone.num_steps.tolist() == [144, 144]


def test_diagnosing_changes_no_draw_and_is_left_out_unless_asked_for(diagnosed):
    plain = pm.sample(jax.random.key(0), MALA, START, 144, num_chains=2, solver=pm.deer())
    assert plain.predictability is None
    np.testing.assert_allclose(plain.position["a"], diagnosed.position["a"], rtol=0, atol=1e-4)
    names = {"lyapunov_exponent", "lyapunov_exponent_standard_error", "contraction"}
    names |= {"expected_iterations", "error_bound"}
    assert not names & set(plain.to_inference_data()["posterior"].attrs)
    attrs = diagnosed.to_inference_data()["posterior"].attrs
    assert names <= set(attrs)
    assert attrs["lyapunov_exponent"] == diagnosed.predictability.exponent.tolist()
    assert attrs["error_bound"] == diagnosed.predictability.error_bound.tolist()


def test_a_blackjax_algorithm_is_diagnosed_as_it_is():
    blackjax = pytest.importorskip("blackjax")
    algorithm = blackjax.mala(lambda x: -jnp.sum(x**2) / 2, 0.5)
    result = diagnosed_step_by_step(algorithm, jnp.zeros(2), 100, seed=1)
    assert result.exponent.shape == (1,)
    assert np.log(0.5) - 1e-3 < float(result.exponent[0]) < 0.5 * np.log(0.5)


def test_iterations_are_counted_for_the_tolerance_that_is_asked_for_whatever_the_solver():
    kernel = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.2)

    def expected(solver):
        trace = pm.sample(
            jax.random.key(0), kernel, jnp.zeros(2), 300, solver=solver, diagnose=True
        )
        return int(trace.predictability.expected_iterations[0])

    to_noise, early = expected(pm.auto("cpu")), expected(pm.auto("cpu", tol=1e-2))
    assert 0 < early < to_noise
    assert expected(pm.jacobi(tol=1e-2)) == early
