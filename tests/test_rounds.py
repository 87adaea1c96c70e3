"""A warm-up in parallel: what its helpers find, and what is said where they do not settle."""

import warnings

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from densities import without_hessian

import parallel_mcmc as pm
from parallel_mcmc._mcmc.helpers import TRAJECTORY_LENGTH, good_ones, replaced
from parallel_mcmc._mcmc.pooling import (
    covariance,
    drift,
    gap_of,
    low_rank,
    moments_of,
    rhat_of,
    variances,
)
from parallel_mcmc._mcmc.rounds import LARGEST_RHAT, SHORTEST, WIDEST_GAP

SD = np.array([0.01, 1.0, 100.0])
CORRELATION = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
COVARIANCE = SD[:, None] * CORRELATION * SD


def correlated(position):
    x = position["x"] / jnp.asarray(SD, position["x"].dtype)
    return -x @ jnp.asarray(np.linalg.inv(CORRELATION), x.dtype) @ x / 2


by_rounds = without_hessian(correlated)


@pytest.mark.parametrize("logdensity_fn, most", [(by_rounds, 600), (correlated, 60)])
def test_step_size_and_metric_of_a_normal_in_some_hundred_gradients(logdensity_fn, most):
    warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn)
    (state, parameters), info = warmup.run(jax.random.key(0), {"x": jnp.ones(3)})
    assert info.settled and info.num_gradients < most
    assert info.from_mode == (logdensity_fn is correlated)
    sd = np.sqrt(np.diag(parameters["inverse_mass_matrix"]))
    # Some hundred independent draws say a standard deviation to 5 per cent, and four times that.
    np.testing.assert_allclose(sd, SD, rtol=0.2)
    assert parameters["inverse_mass_matrix"][0, 1] / (sd[0] * sd[1]) > 0.7
    assert 0.3 < parameters["step_size"] <= 1
    assert state.position["x"].shape == (3,) and jnp.isfinite(state.logdensity)
    assert info.positions["x"].shape == (64, 3)
    assert info.rounds.rhat.shape == (info.num_rounds,)


def banana(x):
    """x_1 ~ Normal(0, 10), and x_2 about a parabola that is narrow and steep in the tails."""
    return -(x[0] ** 2) / 200 - (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2 / 2


def test_where_trajectories_diverge_the_step_is_made_small_enough_for_narrow_places():
    warmup = pm.parallel_adaptation(blackjax.hmc, banana, num_integration_steps=14)
    (_, parameters), info = warmup.run(jax.random.key(1), jnp.zeros(2), 2_000)
    assert info.settled
    assert info.rounds.num_divergent[-1] == 0 < info.rounds.num_divergent[4]
    kernel = pm.hmc(banana, **parameters)
    trace = pm.sample(jax.random.key(2), kernel, info.positions, 200, num_chains=64)
    # With the step size of the fourth round none of them is beyond 20, where one in 22 should be.
    beyond = jnp.mean(jnp.abs(trace.position[:, 100:, 0]) > 20)
    assert 0.03 < beyond < 0.06


@pytest.mark.parametrize("logdensity_fn", [by_rounds, correlated])
def test_draws_with_what_was_found_are_right(logdensity_fn):
    warmup = pm.parallel_adaptation(blackjax.hmc, logdensity_fn, num_integration_steps=4)
    (_, parameters), info = warmup.run(jax.random.key(1), {"x": jnp.ones(3)})
    kernel = pm.hmc(
        correlated, parameters["step_size"], parameters["inverse_mass_matrix"],
        parameters["num_integration_steps"],
    )  # fmt: skip
    starts = jax.tree.map(lambda leaf: leaf[:4], info.positions)
    trace = pm.sample(
        jax.random.key(2), kernel, starts, 1_000, num_chains=4, solver=pm.sequential()
    )
    x = np.asarray(trace.position["x"])
    # 4,000 draws, a fourth of them independent at the least: five standard errors.
    assert np.all(np.abs(x.mean((0, 1))) < 5 * SD / np.sqrt(1_000))
    np.testing.assert_allclose(x.std((0, 1)), SD, rtol=5 / np.sqrt(2 * 1_000))


def test_the_same_key_finds_the_same():
    warmup = pm.parallel_adaptation(blackjax.nuts, correlated)
    found = [warmup.run(jax.random.key(3), {"x": jnp.ones(3)})[0].parameters for _ in range(2)]
    assert found[0]["step_size"] == found[1]["step_size"]


def test_the_metric_is_whole_up_to_512_unknowns_and_diagonal_where_it_is_asked_for():
    def logdensity_fn(x):
        return -jnp.sum(x**2) / 2

    for dim, diagonal, shape in (
        (65, None, (65, 65)),
        (65, True, (65,)),
        (513, None, (513,)),
        (2, None, (2, 2)),
    ):
        warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn, diagonal)
        (_, parameters), info = warmup.run(jax.random.key(0), jnp.zeros(dim))
        assert parameters["inverse_mass_matrix"].shape == shape and info.settled


def test_correlations_of_a_hundred_unknowns_are_found_and_noise_is_not():
    """Of a random walk, whose longest axis is 128 times its shortest."""

    def random_walk(x):
        return -(x[0] ** 2 + jnp.sum(jnp.diff(x) ** 2)) / 2

    warmup = pm.parallel_adaptation(blackjax.hmc, random_walk, num_integration_steps=4)
    (_, parameters), info = warmup.run(jax.random.key(0), jnp.zeros(100))
    assert info.settled and info.num_gradients < 600
    step = np.arange(1, 101)
    L = np.linalg.cholesky(parameters["inverse_mass_matrix"])
    whitened = np.linalg.solve(L, np.linalg.solve(L, np.minimum(step[:, None], step)).T)
    values = np.linalg.eigvalsh(whitened)
    assert values[-1] / values[0] < 40  # 16,000 without a metric, 26,000 with variances


def test_noise_alone_has_no_correlations():
    draws = jax.random.normal(jax.random.key(0), (12, 64, 100)) * jnp.arange(1, 101)
    recent = jnp.ones((12, 64), bool)
    few = low_rank(draws[:1], recent[:1], 8)  # fewer than unknowns, and they do not know how few
    values = np.linalg.eigvalsh(few / np.sqrt(np.outer(np.diag(few), np.diag(few))))
    assert np.all(values > 0.05)
    found = low_rank(draws, recent, 12 * 64)
    np.testing.assert_allclose(found, np.diag(variances(draws, recent)), rtol=1e-4, atol=1e-2)


def test_a_correlation_that_stands_out_is_kept_without_the_noise():
    """A direction of variance 100 among 200 of variance 1, of 400 draws: biased by half of 1."""
    key_draws, key_axis = jax.random.split(jax.random.key(0))
    axis = jnp.sign(jax.random.normal(key_axis, (200,))) / np.sqrt(200)
    draws = jax.random.normal(key_draws, (400, 200))
    draws += (np.sqrt(100) - 1) * (draws @ axis)[:, None] * axis
    found = low_rank(draws.reshape(10, 40, 200), jnp.ones((10, 40), bool), 400)
    values = np.linalg.eigvalsh(found)
    np.testing.assert_allclose(axis @ found @ axis, 100, rtol=0.2)  # 5 / sqrt(200) is 0.35
    assert values[-2] < 1.5 and values[0] > 0.6  # of noise, from 0.09 to 2.9


def test_rounds_that_differ_by_chance_do_not_drift_and_others_do():
    keys = jax.random.split(jax.random.key(0), 3)
    before, same, other = (jax.random.normal(key, (1, 64, 50)) for key in keys)
    recent = jnp.ones((1, 64), bool)
    moments = moments_of(before, recent)
    assert drift(moments, moments_of(same, recent), 64) < 1
    assert drift(moments, moments_of(other.at[..., 7].add(1), recent), 64) > 1
    assert drift(moments, moments_of(other.at[..., 7].multiply(2), recent), 64) > 1


def test_there_is_a_gap_between_modes_and_none_between_helpers_that_mix_slowly():
    key_place, key_draw = jax.random.split(jax.random.key(0))
    place = 2 * jax.random.normal(key_place, (64, 3))  # R-hat 2.2
    draws = place + jax.random.normal(key_draw, (12, 64, 3))
    recent = jnp.ones((12, 64), bool).at[:, 0].set(False)
    assert jnp.all(gap_of(draws.at[:, 0].add(100), recent) < 3)
    in_modes = draws - place + jnp.where(jnp.arange(64) < 5, 6, 0)[:, None]
    assert jnp.all(gap_of(in_modes, recent) > 4) and jnp.max(rhat_of(in_modes, recent)) < 2.2


def test_a_warm_up_makes_no_nan():
    with jax.debug_nans(True):
        for logdensity_fn in (by_rounds, correlated):
            warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn)
            _, info = warmup.run(jax.random.key(0), {"x": jnp.ones(3)})
            assert info.settled
            assert info.from_mode == jnp.isfinite(info.rounds.drift[0])


@pytest.mark.parametrize("num_steps", [19, 20, 31, 32, 60])
def test_no_more_steps_are_made_than_are_given(num_steps):
    """The first rounds have 20, 12, 12, 12 and 16."""
    warmup = pm.parallel_adaptation(blackjax.nuts, by_rounds)
    with pytest.warns(pm.AdaptationWarning, match="not settled"):
        _, info = warmup.run(jax.random.key(0), {"x": jnp.ones(3)}, num_steps)
    assert not info.settled
    assert info.num_rounds == {19: 0, 20: 1, 31: 1, 32: 2, 60: 4}[num_steps]


def two_modes(x):
    return jnp.logaddexp(-jnp.sum((x - 20) ** 2), -jnp.sum((x + 20) ** 2))


def test_two_modes_far_apart_are_told_of():
    warmup = pm.parallel_adaptation(blackjax.nuts, two_modes, radius=25.0)
    with pytest.warns(pm.AdaptationWarning, match=r"several modes.*`position.*R-hat \d"):
        (state, _), info = warmup.run(jax.random.key(0), jnp.zeros(2), 500)
    assert not info.settled and jnp.all(jnp.isfinite(state.position))


def test_helpers_that_start_where_there_is_no_density_begin_elsewhere():
    def logdensity_fn(x):
        return jnp.where(x[0] > 0, -jnp.sum((x - 2) ** 2) / 0.08, -jnp.inf)

    warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pm.AdaptationWarning)
        _, info = warmup.run(jax.random.key(0), jnp.ones(2))
    assert jnp.all(info.positions[:, 0] > 0)


def test_helpers_that_are_stuck_lost_or_nowhere_are_replaced_by_good_ones():
    acceptance = jnp.full(16, 0.8).at[3].set(0.1)
    logdensity = jnp.linspace(-1, 1, 16).at[5].set(-100.0).at[7].set(-jnp.inf)
    good = good_ones(acceptance, logdensity)
    assert np.flatnonzero(~np.asarray(good)).tolist() == [3, 5, 7]
    x = jnp.arange(16.0)[:, None]
    moved = replaced(x, good)
    assert set(moved[:, 0].tolist()) <= set(range(16)) - {3, 5, 7}
    np.testing.assert_array_equal(moved[good], x[good])


def test_rhat_is_one_of_helpers_that_have_forgotten_and_large_of_those_that_have_not():
    draws = jax.random.normal(jax.random.key(0), (12, 64, 1))
    recent = jnp.ones((12, 64), bool)
    assert 1 < rhat_of(draws, recent)[0] < 1.1
    assert rhat_of(draws + jnp.arange(64.0)[None, :, None], recent)[0] > 10


def test_the_pooled_covariance_is_of_recent_draws_alone_and_mixed_with_its_diagonal():
    draws = jax.random.normal(jax.random.key(0), (12, 64, 2))
    draws = draws.at[..., 1].add(draws[..., 0])
    recent = jnp.ones((12, 64), bool).at[6:].set(False)
    alone = np.cov(np.asarray(draws[:6]).reshape(-1, 2).T, bias=True)
    found = covariance(draws.at[6:].set(1e6), recent, jnp.inf)
    np.testing.assert_allclose(found, alone, rtol=1e-4)
    mixed = covariance(draws, recent, 2)  # as many draws as unknowns
    np.testing.assert_allclose(mixed[0, 1], 3 / 4 * alone[0, 1], rtol=1e-4)
    np.testing.assert_allclose(variances(draws, recent), np.diag(alone), rtol=1e-4)


def test_few_helpers_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        pm.parallel_adaptation(blackjax.nuts, correlated, num_helpers=4)


@pytest.mark.slow
def test_many_leapfrog_steps_leave_the_helpers_their_steps():
    warmup = pm.parallel_adaptation(blackjax.hmc, by_rounds, num_integration_steps=50)
    _, info = warmup.run(jax.random.key(0), {"x": jnp.zeros(3)})
    assert info.settled and info.num_rounds > 3
    assert info.num_gradients > 24 * 50  # those that tune the step size


@pytest.mark.parametrize("tuned, num_rounds", [({}, 11), ({"num_integration_steps": 2}, 10)])
def test_steps_that_tune_a_step_size_are_reserved(tuned, num_rounds):
    """Eleven rounds have 216 steps, and tuning takes 24."""
    algorithm = blackjax.hmc if tuned else blackjax.nuts
    warmup = pm.parallel_adaptation(algorithm, two_modes, radius=25.0, **tuned)
    with pytest.warns(pm.AdaptationWarning, match="several modes"):
        _, info = warmup.run(jax.random.key(0), jnp.zeros(2), 224)
    assert info.num_rounds == num_rounds


def funnel(x):
    return -(x[0] ** 2) / 18 - jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) / 2 - 2 * x[0]


def stiff_walls(x):
    return -jnp.sum(x**2) / 2 - 1e5 * jnp.sum(jnp.maximum(x - 1.5, 0) ** 2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("logdensity_fn, dim", [(funnel, 5), (stiff_walls, 4)])
def test_a_pool_that_has_settled_had_forgotten_in_its_last_round(logdensity_fn, dim):
    """Not in one before its step size was made smaller, and not by trajectories cut short."""
    warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn)
    settled = 0
    for seed in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pm.AdaptationWarning)
            _, info = warmup.run(jax.random.key(seed), jnp.zeros(dim), 1_000)
        last = jax.tree.map(lambda leaf: float(leaf[-1]), info.rounds)
        length = last.num_integration_steps * last.step_size
        goes_far = length > SHORTEST * TRAJECTORY_LENGTH or last.num_integration_steps > 64
        stays = last.drift < 1 and last.gap < WIDEST_GAP and goes_far
        assert not info.settled or last.rhat < LARGEST_RHAT or stays
        assert info.num_gradients < 20_000
        settled += bool(info.settled)
    assert settled
