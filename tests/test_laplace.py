"""Helpers start around the mode where a normal there is nearly the posterior, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from densities import without_hessian

from parallel_mcmc._mcmc.laplace import normal_at_mode
from parallel_mcmc._mcmc.pooling import covariance, variances
from parallel_mcmc._mcmc.rounds import adapt_pool

KEY = jax.random.key(0)
SD = jnp.array([1e-3, 1.0, 1e3])
DESIGN = jax.random.normal(jax.random.key(1), (200, 3)) * jnp.array([1.0, 0.1, 10.0]) + 5


def starts(dim, radius=2.0):
    return jax.random.uniform(KEY, (64, dim), minval=-radius, maxval=radius)


def found(logdensity_fn, dim, radius=2.0):
    return jax.jit(lambda x: normal_at_mode(logdensity_fn, KEY, x))(starts(dim, radius))


def normal(x):
    return -jnp.sum(((x - 1) / SD) ** 2) / 2


def logistic(x):
    y = jnp.arange(200) % 3 == 0
    logits = DESIGN @ x
    return jnp.sum(y * logits - jnp.logaddexp(0, logits)) - jnp.sum(x**2) / 200


def funnel(x):
    return -(x[0] ** 2) / 18 - jnp.sum(x[1:] ** 2 * jnp.exp(-x[0]) + x[0]) / 2


def bottomless(x):
    """A funnel whose density grows without limit towards its neck."""
    return -jnp.logaddexp(0, x[0]) - jnp.sum(x[1:] ** 2 * jnp.exp(-x[0]) + x[0]) / 2


def heavy_tails(x):
    return -jnp.sum(jnp.log1p(x**2))


def two_modes(x):
    return jnp.logaddexp(-jnp.sum((x - 2) ** 2), -jnp.sum((x + 2) ** 2)) * 8


def spike_and_slab(x):
    """The mode of the spike is four nats higher, and its mass a twentieth of the slab's."""
    return jnp.logaddexp(4 + spike(x, 0.03), -jnp.sum(x**2) / 2)


def spike(x, sd):
    return -jnp.sum((x - 1) ** 2) / 2 / sd**2


def lesser_mode(nats):
    """At -12, with e^-nats of the mass of the other."""

    def logdensity_fn(x):
        return jnp.logaddexp(-jnp.sum(x**2) / 2, -nats - jnp.sum((x + 12) ** 2) / 2)

    return logdensity_fn


def unbounded(x):
    return -(x[0] ** 2) + x[1]


@pytest.mark.parametrize("logdensity_fn", [normal, logistic])
def test_it_holds_of_a_normal_of_any_scales_and_of_a_regression(logdensity_fn):
    laplace = found(logdensity_fn, 3)
    assert laplace.holds and laplace.num_gradients < 60
    whitened = -laplace.covariance @ jax.hessian(logdensity_fn)(laplace.mean)
    np.testing.assert_allclose(jnp.diagonal(whitened), 1, rtol=0.01)


@pytest.mark.parametrize(
    "logdensity_fn, dim",
    [
        (funnel, 2),
        (funnel, 10),
        (bottomless, 10),
        (heavy_tails, 8),
        (two_modes, 2),
        (unbounded, 2),
    ],
)
def test_it_does_not_hold_of_other_shapes(logdensity_fn, dim):
    assert not found(logdensity_fn, dim).holds


def test_a_second_mode_that_one_start_has_found_is_enough():
    assert not normal_at_mode(spike_and_slab, KEY, starts(2).at[3].set(1.0)).holds


@pytest.mark.parametrize("nats, num_starts, holds", [(60, 2, True), (60, 3, False), (30, 1, False)])
def test_a_mode_without_mass_may_be_found_by_one_start_in_eight(nats, num_starts, holds):
    x = starts(2).at[:num_starts].set(-12.5)
    assert normal_at_mode(lesser_mode(nats), KEY, x).holds == holds


@pytest.mark.parametrize("logdensity_fn, dim, most", [(bottomless, 10, 12), (heavy_tails, 8, 8)])
def test_the_search_ends_early_once_it_has_failed(logdensity_fn, dim, most):
    """A funnel may have no mode; heavy tails have one, around which a normal does not hold."""
    laplace = found(logdensity_fn, dim)
    assert not laplace.holds and laplace.num_gradients <= 3 * most


def test_starts_of_no_density_do_not_count():
    def half(x):
        return jnp.where(x[0] > 0, -jnp.sum((x - 1) ** 2) / 0.02, -jnp.inf)

    assert found(half, 2).holds


def test_helpers_are_draws_of_the_normal_some_of_a_wider_one_and_some_stay():
    found_x, helper = found(normal, 3).x, np.arange(64)
    stay, wide = helper % 16 == 15, helper % 4 == 2
    np.testing.assert_array_equal(found_x[stay], starts(3)[stay])
    x = (found_x - 1) / SD
    # Of 44 and of 16 helpers: four standard errors of a mean square.
    near = ~stay & ~wide
    np.testing.assert_allclose(np.mean(x[near] ** 2), 1, rtol=4 * np.sqrt(2 / 132))
    np.testing.assert_allclose(np.mean(x[wide] ** 2), 1.5**2, rtol=4 * np.sqrt(2 / 48))


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_within_a_slab_is_not_taken_for_all(seed):
    """At its mode it is a normal, of three tenths of the mass and a hundredth of the width."""

    def logdensity_fn(x):
        spike = jnp.log(0.3 / 0.01) - jnp.sum((x / 0.01) ** 2) / 2
        return jnp.logaddexp(spike, jnp.log(0.7) - jnp.sum(x**2) / 2)

    keys = jax.random.split(jax.random.key(seed))
    x = jax.random.uniform(keys[0], (64, 1), minval=-2, maxval=2)
    pool = jax.jit(lambda x: adapt_pool(logdensity_fn, keys[1], x, 1_000, covariance, 0.8))(x)
    sd = 0.7**0.5
    assert not pool.settled or sd / 2 < pool.inverse_mass_matrix[0, 0] ** 0.5 < 2 * sd


def test_there_is_none_of_many_unknowns_or_without_second_derivatives():
    assert normal_at_mode(without_hessian(normal), KEY, starts(3)) is None
    assert normal_at_mode(lambda x: -jnp.sum(x**2), KEY, starts(65)) is None


@pytest.mark.parametrize("estimate, shape", [(variances, (3,)), (covariance, (3, 3))])
def test_rounds_begin_where_it_holds_and_elsewhere_go_on_as_without(estimate, shape):
    def pool_of(logdensity_fn, blocks=None):
        return jax.jit(lambda x: adapt_pool(logdensity_fn, KEY, x, 1_000, estimate, 0.8, blocks))(
            starts(3)
        )

    pool = pool_of(logistic, jnp.eye(3, dtype=bool) if estimate is covariance else None)
    assert pool.from_mode and pool.settled and pool.num_gradients < 400
    assert pool.inverse_mass_matrix.shape == shape
    if estimate is covariance:
        matrix = pool.inverse_mass_matrix
        assert jnp.all(matrix == jnp.diag(jnp.diagonal(matrix)))
    pool = pool_of(funnel)
    assert not pool.from_mode and pool.num_gradients > found(funnel, 3).num_gradients


def test_correlations_that_the_normal_knows_outlast_a_round():
    """Of .99999: mixed with its diagonal, the covariance of 400 draws is four times too wide."""
    near_one = jnp.array([[1, 0.99999], [0.99999, 1]])
    precision = jnp.linalg.inv(near_one)
    pool = adapt_pool(lambda x: -x @ precision @ x / 2, KEY, starts(2), 1_000, covariance, 0.8)
    assert pool.from_mode and pool.settled
    narrow = jnp.array([1, -1]) / jnp.sqrt(2)
    found = narrow @ pool.inverse_mass_matrix @ narrow / (narrow @ near_one @ narrow)
    np.testing.assert_allclose(found, 1, rtol=4 * np.sqrt(2 / 384) + 0.1)  # and float32
