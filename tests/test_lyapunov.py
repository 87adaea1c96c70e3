"""The Lyapunov exponent and its standard error, against exponents that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import A, chain, linear

import parallel_mcmc as pm
from parallel_mcmc._core.lyapunov import batch_means, log_growth, loop_growth, tree_growth
from parallel_mcmc._core.rows import before

LOG_RADIUS = np.log(np.abs(np.linalg.eigvals(A)).max())
LOOP, TREE = (jax.jit(growth, static_argnums=0) for growth in (loop_growth, tree_growth))


def exponent_of(f, x0, inputs, **options):
    x0 = jax.tree.map(jnp.asarray, x0)
    return pm.lyapunov_exponent(f, x0, inputs, chain(f, x0, inputs), **options)


def test_a_linear_recursion_has_the_log_of_its_spectral_radius(dtype):
    u = np.random.default_rng(0).normal(size=(400, 3)).astype(dtype)
    exponent = exponent_of(linear, np.zeros(3, dtype), u)
    assert exponent.value.dtype == exponent.standard_error.dtype == dtype
    # The other eigenvalues are 0.64 of the radius: over the first batch, of 20 steps, they shrink
    # to 0.64**20 = 1e-4, from up to 100 times as much, and that counts once in 380 steps.
    assert float(exponent.value) == pytest.approx(LOG_RADIUS, abs=1e-4)


def test_a_diagonal_map_on_a_pytree_has_the_largest_of_its_rates(x64):
    def f(x, u):
        return {"a": 0.3 * x["a"] + u, "b": (-0.9 * x["b"][0],), "c": 0.2 * x["c"]}

    x0 = {"a": np.ones(2), "b": (np.ones((2, 1)),), "c": np.float64(1)}
    assert float(exponent_of(f, x0, np.zeros(100)).value) == pytest.approx(np.log(0.9), abs=1e-9)


def test_an_autoregression_has_the_log_of_its_coefficient_after_one_step_and_after_many(x64):
    def f(x, u):
        return -0.7 * x + u

    for T in (1, 3, 50):
        exponent = exponent_of(f, np.float64(0), np.ones(T))
        assert float(exponent.value) == pytest.approx(np.log(0.7), abs=1e-12)
        # One batch has no standard error.
        assert float(exponent.standard_error) == (np.inf if T < 4 else pytest.approx(0, abs=1e-12))


def test_the_logistic_map_doubles_perturbations(x64):
    exponent = exponent_of(lambda x, u: 4 * x * (1 - x), np.float64(0.3), np.zeros(2_000))
    assert 0 < float(exponent.standard_error) < 0.01
    assert abs(float(exponent.value) - np.log(2)) < 4 * float(exponent.standard_error)


@pytest.mark.parametrize("growth", [LOOP, TREE], ids=["loop", "tree"])
def test_maps_that_expand_or_contract_beyond_float32_stay_finite(growth):
    def f(x, u):
        return u * x

    v0 = jnp.array([0.5, -1.0], jnp.float32)
    for factor in (30.0, 1e30, 1e-30):
        # The trajectory does not matter to a linear map: that of factor**2000 overflows.
        values = growth(f, jnp.ones((2_000, 2)), jnp.full(2_000, factor), v0)
        assert values.dtype == jnp.float32
        assert float(batch_means(values).value) == pytest.approx(np.log(factor), rel=1e-5)


def test_a_tree_of_products_is_the_loop(x64):
    u = jax.random.normal(jax.random.key(0), (150, 3))

    def f(x, u):
        # The Jacobian is zero at some steps, and not normal at the others.
        return jnp.where(u[0] > 1.5, 0.0, jnp.tanh(linear(x, u)) * jnp.exp(u[1]))

    x_prev = before(chain(f, jnp.zeros(3), u), jnp.zeros(3))
    v0 = jnp.array([0.3, -1.0, 0.5])
    loop, tree = (growth(f, x_prev, u, v0) for growth in (LOOP, TREE))
    forgotten = np.asarray(u[:, 0] > 1.5)
    assert 0 < forgotten.sum() < 40
    np.testing.assert_array_equal(np.isneginf(loop), forgotten)
    np.testing.assert_allclose(tree, loop, rtol=0, atol=1e-9)


@pytest.mark.parametrize("growth", [LOOP, TREE], ids=["loop", "tree"])
@pytest.mark.parametrize("T", [1, 30])
def test_a_map_that_forgets_at_a_blow_has_minus_infinity_not_nan(growth, T):
    def f(x, u):
        return u

    value, error = batch_means(
        growth(f, jnp.zeros((T, 2)), jnp.ones((T, 2)), jnp.array([1.0, 0.5]))
    )
    assert np.isneginf(value)
    assert error == 0


def test_more_unknowns_than_max_dense_need_no_matrix(x64):
    u = np.ones((60, 3))
    few = exponent_of(linear, np.zeros(3), u, max_dense=2)
    assert float(few.value) == pytest.approx(float(exponent_of(linear, np.zeros(3), u).value))
    text = str(jax.make_jaxpr(lambda x: log_growth(linear, x, u, jax.random.key(0), 2))(u))
    assert "platform_index" not in text and "60,3,3" not in text


def test_many_chains_at_once_are_as_one_at_a_time_and_jit_changes_nothing(x64):
    def f(x, u):
        return jnp.tanh(linear(x, u))

    u = jax.random.normal(jax.random.key(2), (3, 50, 3))
    together = jax.jit(jax.vmap(lambda u: exponent_of(f, np.zeros(3), u)))(u)
    alone = [exponent_of(f, np.zeros(3), u[i]) for i in range(3)]
    np.testing.assert_allclose(together.value, [e.value for e in alone], rtol=1e-12)
    np.testing.assert_allclose(
        together.standard_error, [e.standard_error for e in alone], rtol=1e-9
    )
    assert np.ptp(together.value) > 0.001


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_standard_error_covers_as_often_as_it_says(x64, correlation):
    # x_t = e^(g_t) x_{t-1} with g an autoregression around -0.1: that is the exponent.
    num_runs, T = 400, 900

    def run(key):
        noise = jax.random.normal(key, (T + 50,))
        g = -0.1 + chain(lambda g, z: correlation * g + 0.3 * z, jnp.zeros(()), noise)[50:]
        growth = log_growth(lambda x, g: jnp.exp(g) * x, jnp.ones((T, 1)), g, jax.random.key(0))
        return batch_means(growth)

    value, error = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(5), num_runs))
    covered = np.mean(np.abs(value + 0.1) < 2 * error)
    # Two standard errors of 29 batches cover 94.5 % where batches are independent, and 94 % with
    # this correlation; four standard deviations of a binomial of 400 are 4.7 %.
    assert 0.90 < covered < 0.99
    # Without batches the correlated case would cover two thirds: errors are half of what they are.
    iid = 0.3 / (1 - correlation**2) ** 0.5 / T**0.5
    assert float(np.mean(error)) == pytest.approx(
        iid * ((1 + correlation) / (1 - correlation)) ** 0.5, rel=0.1
    )


def test_a_trajectory_with_its_start_is_refused():
    with pytest.raises(ValueError, match=r"5 steps and the inputs have 4.*without x0"):
        pm.lyapunov_exponent(linear, jnp.zeros(3), jnp.ones((4, 3)), jnp.ones((5, 3)))
