"""A warm-up in rounds: many helper chains, each round a few steps of HMC of all of them at once.

What takes time on an accelerator is not how many gradients there are but how many must follow one
another. One chain that adapts itself takes thousands. A pool of helpers that start apart has, after
a few steps, seen as many draws as that chain. Their pooled covariance is the metric of the next
round, and their mean acceptance sets its step size. A round is a few steps, first with one leapfrog
step each, later with trajectories of a fifth of a period; mostly a few hundred gradients in all.

After a round, helpers that are stuck (they accept too little) or lost (their potential is far above
the others') are replaced by copies of good ones. The rounds end once the pool has settled: the
helpers have forgotten where they started, they accept as they should, their trajectories are as
long as they should be, and none of them diverges. If some diverge, the step size is adapted for a
higher rate of acceptance, and trajectories may be shorter (see `SHORTEST`). Helpers have forgotten
if R-hat over their last draws says so. Where a chain remembers for longer than a round, it is also
enough that two rounds differ by no more than chance and no gap between helpers is as wide as
between modes. Otherwise rounds go on until the next would take more steps than allowed, or all
together too many gradients, and that is reported.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from parallel_mcmc._mcmc.helpers import (
    TRAJECTORY_LENGTH,
    good_ones,
    num_leapfrogs,
    replaced,
    walk,
)
from parallel_mcmc._mcmc.laplace import normal_at_mode
from parallel_mcmc._mcmc.pool import FIRST_CHECK, MOST_ROUNDS, Pool, Summary, around, gathered
from parallel_mcmc._mcmc.pooling import Estimate, drift, gap_of, moments_of, rhat_of, variances_of

PLAN = (
    (20, 1), (12, 2), (12, 4), (12, 8), (16, 8), (24, 8), (24, 16), (24, 32), (24, 64), (24, 128),
)  # fmt: skip
"""Steps of each round, and the most leapfrog steps in each step; the last round repeats."""

FIRST_OF_NO_DRIFT = 5
"""The same for a pool that settles because it no longer drifts: rounds are 24 steps long from there
on. In shorter rounds a chain that remembers for twenty steps hardly drifts, and misses narrow
places."""

LARGEST_RHAT = 1.5
"""Of a pool that has settled. Twelve independent draws of each helper give 1.04."""

WIDEST_GAP = 4.0
"""Between helpers that have settled because they no longer drift, in standard deviations of one.
Modes six apart leave a gap of five, and helpers do leave modes that are nearer."""

LARGEST_CHANGE = 1.0
"""Of the logarithm of any variance of the metric, from the round before."""

SHORTEST = 0.75
"""The part of the trajectory length that a settled pool must reach. Its trajectories may be shorter
if two of three hold: divergences have made its steps smaller, they are the longest of the plan, and
R-hat says that helpers have forgotten."""

GRADIENTS_PER_STEP = 16
"""The most that follow one another, on average over the steps allowed. Models that settle took up
to 9 of them; two modes would take 26, and a step size that collapses 108."""

HIGHEST_TARGET = 0.97
"""The rate of acceptance above which divergences no longer make the step size smaller.

Where some of a round's thousand trajectories diverge, narrow places are closed to steps of this
size, and the helpers do not show what lies behind. In a test with a banana, chains at a rate of 0.8
saw nothing of the tails beyond two standard deviations.
"""

TUNING = 24
"""Steps of the kernel itself, if its trajectories are not those of the rounds."""


def adapt_pool(
    logdensity_fn: Callable[[Float[Array, " D"]], Float[Array, ""]],
    rng_key: Any,
    x: Float[Array, "K D"],
    max_steps: Any,
    estimate: Estimate,
    target_acceptance_rate: float,
    blocks: Bool[Array, "D D"] | None = None,
) -> Pool:
    """Rounds until the pool has settled, or the next would take too many steps. Traceable.

    Args:
        logdensity_fn: of a vector.
        rng_key: typed or raw.
        x: where the helpers start, if not around the mode (see `laplace`); those whose density is
            not finite are replaced by others.
        max_steps: the most steps of a helper, each of them a trajectory.
        estimate: the metric from draws, as in `pooling`.
        target_acceptance_rate: the rate that the step size is adapted for; raised where
            trajectories diverge.
        blocks: entries of a dense metric that may differ from zero; all by default.
    """
    plan = jnp.array(PLAN, jnp.int32)

    def of_plan(pool: Pool):
        return plan[jnp.minimum(pool.stage, len(PLAN) - 1)]

    def goes_on(pool: Pool) -> Bool[Array, ""]:
        affordable = pool.num_steps + of_plan(pool)[0] <= max_steps
        affordable &= pool.num_gradients < GRADIENTS_PER_STEP * max_steps
        return ~pool.settled & affordable & (pool.num_rounds < MOST_ROUNDS)

    def next_round(pool: Pool) -> Pool:
        num_steps, most = of_plan(pool)
        key = jax.random.fold_in(rng_key, pool.num_rounds)
        return one_round(logdensity_fn, key, pool, num_steps, most, estimate, blocks)

    start = gathered(logdensity_fn, x, estimate, target_acceptance_rate)
    key = jax.random.fold_in(rng_key, MOST_ROUNDS)
    normal = normal_at_mode(logdensity_fn, key, start.x)
    if normal is not None:
        start = around(normal, start, estimate, blocks)
    pool = jax.lax.while_loop(goes_on, next_round, start)
    return pool._replace(settled=pool.ready)


def one_round(logdensity_fn, rng_key, pool, num_steps, most, estimate, blocks) -> Pool:
    """A round of ``num_steps`` steps, each of at most ``most`` leapfrog steps, and its results."""
    K, target = len(pool.x), pool.target_acceptance_rate
    walked = walk(
        logdensity_fn, rng_key, pool.x, pool.log_step_size, pool.inverse_mass_matrix, num_steps,
        lambda log_step_size: num_leapfrogs(log_step_size, most), max(n for n, _ in PLAN) // 2,
        target,
    )  # fmt: skip
    x, logdensity = walked.state.position, walked.state.logdensity
    good = good_ones(walked.acceptance, logdensity)
    num_good = jnp.sum(good)
    # Draws of the second half, from good helpers alone.
    recent = (jnp.arange(len(walked.draws)) < num_steps // 2)[:, None] & good
    observed = jnp.concatenate([walked.draws, walked.logdensities[..., None]], axis=-1)
    rhats, moments = rhat_of(observed, recent), moments_of(observed, recent)
    rhat, drifted = jnp.max(rhats), drift(pool.moments, moments, num_good)
    # Of each helper as many as its draws are apart, beside how far apart all of them are.
    each = jnp.clip(1 / (rhat**2 - 1), 1, num_steps // 2)
    matrix = estimate(
        walked.draws, recent, num_good * each, pool.inverse_mass_matrix, pool.from_mode
    )
    if blocks is not None:
        matrix = jnp.where(blocks, matrix, 0)
    fine = jnp.all(jnp.isfinite(matrix)) & jnp.all(variances_of(matrix) > 0)
    matrix = jnp.where(fine, matrix, pool.inverse_mass_matrix)
    early = pool.stage < 2
    log_step_size = jnp.where(pool.stage == 0, walked.log_step_size, walked.mean_log_step_size)
    # A first metric is far from the next one, and the step size is in its units.
    ratio = variances_of(pool.inverse_mass_matrix) / variances_of(matrix)
    change = jnp.max(jnp.abs(jnp.log(ratio)))
    log_step_size += jnp.where(early, jnp.log(jnp.mean(ratio)) / 2, 0)
    num_gradients = pool.num_gradients + 1 + walked.num_leapfrogs
    acceptance = jnp.sum(jnp.where(good, walked.acceptance, 0)) / num_good
    mean_leapfrogs = walked.num_leapfrogs / num_steps
    length = mean_leapfrogs * jnp.exp(walked.mean_log_step_size)
    gap = jnp.max(gap_of(observed, recent)[:-1])
    stays = (drifted < 1) & (gap < WIDEST_GAP) & (pool.stage >= FIRST_OF_NO_DRIFT)
    # From the mode, all but a few helpers agree at first: what they agree on must not drift.
    agree = (rhat < LARGEST_RHAT) & ((drifted < 1) | ~pool.from_mode)
    is_longest = most >= PLAN[-1][1]
    may_be_short = (pool.diverges & is_longest) | (agree & (pool.diverges | is_longest))
    ready = (
        (pool.stage >= FIRST_CHECK)
        & (agree | stays)
        & (change < LARGEST_CHANGE)
        & accepts(acceptance, target)
        & ((length > SHORTEST * TRAJECTORY_LENGTH) | may_be_short)
        & (8 * num_good >= 7 * K)
        & fine
    )
    num_divergent = jnp.sum(jnp.where(good, walked.num_divergent, 0))
    smaller = ready & (num_divergent > 0) & (target < HIGHEST_TARGET)
    summary = Summary(
        num_gradients=num_gradients,
        step_size=jnp.exp(log_step_size),
        acceptance_rate=acceptance,
        num_integration_steps=mean_leapfrogs,
        num_replaced=K - num_good,
        num_divergent=num_divergent,
        target_acceptance_rate=target,
        rhat=rhat,
        worst=jnp.argmax(rhats),
        drift=drifted,
        gap=gap,
        logdensity=jnp.median(logdensity),
    )
    return Pool(
        x=replaced(x, good),
        log_step_size=log_step_size,
        target_acceptance_rate=jnp.where(smaller, (1 + target) / 2, target),
        inverse_mass_matrix=matrix,
        num_steps=pool.num_steps + num_steps,
        num_gradients=num_gradients.astype(jnp.int32),
        num_rounds=pool.num_rounds + 1,
        ready=ready,
        settled=ready & ~smaller,
        diverges=pool.diverges | smaller,
        moments=moments,
        summaries=jax.tree.map(
            lambda all_of, this: all_of.at[pool.num_rounds].set(this.astype(all_of.dtype)),
            pool.summaries,
            summary,
        ),
        from_mode=pool.from_mode,
    )


def accepts(acceptance: Any, target_acceptance_rate: Any) -> Bool[Array, ""]:
    """Whether helpers accept nearly as often as they should."""
    return acceptance > 0.75 * target_acceptance_rate


def adapt_and_tune(
    logdensity_fn: Callable[[Float[Array, " D"]], Float[Array, ""]],
    rng_keys: tuple[Any, Any],
    x: Float[Array, "K D"],
    max_steps: Any,
    estimate: Estimate,
    target_acceptance_rate: float,
    num_integration_steps: int | None,
    blocks: Bool[Array, "D D"] | None = None,
) -> Pool:
    """`adapt_pool`, then the step size for trajectories of ``num_integration_steps``, if not None.

    ``rng_keys`` are one for each; of ``max_steps`` the last `TUNING` are for the second.
    """
    key_rounds, key_tune = rng_keys
    if num_integration_steps is not None:
        max_steps = max_steps - TUNING
    pool = adapt_pool(
        logdensity_fn, key_rounds, x, max_steps, estimate, target_acceptance_rate, blocks
    )
    if num_integration_steps is None:
        return pool
    return tuned(logdensity_fn, key_tune, pool, num_integration_steps)


def tuned(
    logdensity_fn: Callable,
    rng_key: Any,
    pool: Pool,
    num_integration_steps: int,
) -> Pool:
    """The pool; if settled, with a step size for ``num_integration_steps`` leapfrog steps."""
    num_steps = jnp.where(pool.settled, TUNING, 0)
    walked = walk(
        logdensity_fn, rng_key, pool.x, pool.log_step_size, pool.inverse_mass_matrix, num_steps,
        lambda _: jnp.asarray(num_integration_steps, jnp.int32), TUNING // 2,
        pool.target_acceptance_rate,
    )  # fmt: skip
    num_gradients = pool.num_gradients + 1 + walked.num_leapfrogs
    return pool._replace(
        x=walked.state.position,
        log_step_size=walked.mean_log_step_size,
        num_gradients=num_gradients.astype(jnp.int32),
        settled=pool.settled & accepts(jnp.mean(walked.acceptance), pool.target_acceptance_rate),
    )
