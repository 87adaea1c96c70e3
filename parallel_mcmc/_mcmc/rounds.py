"""A warm-up in rounds: many helper chains, each round a few steps of HMC of all of them at once.

What takes time on an accelerator is not how many gradients there are but how many must follow one
another. One chain that adapts itself takes thousands. A pool of helpers that start apart has, after
a few steps, seen as many draws as that chain. Their pooled covariance is the metric of the next
round, and their mean acceptance sets its step size. A round is a few steps, first with one leapfrog
step each, later with trajectories of a fifth of a period; in all some hundred gradients.

After a round, helpers that are stuck (they accept too little) or lost (their potential is far above
the others') are replaced by copies of good ones. The rounds end once the pool has settled: the
helpers have forgotten where they started, they accept as they should, their trajectories are as
long as they should be, and none of them diverges: otherwise the step size is adapted for a higher
rate of acceptance. They have forgotten if R-hat over their last draws says so. Where a chain
remembers for longer than a round, they have also if two rounds differ by no more than chance and no
gap between helpers is as wide as between modes. Otherwise rounds go on until the next would take
more gradients than allowed, and that is reported.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._mcmc.helpers import (
    TRAJECTORY_LENGTH,
    good_ones,
    num_leapfrogs,
    replaced,
    usable,
    walk,
)
from parallel_mcmc._mcmc.laplace import Laplace, normal_at_mode
from parallel_mcmc._mcmc.pooling import (
    Estimate,
    Moments,
    drift,
    gap_of,
    moments_of,
    rhat_of,
    variances,
    variances_of,
)

PLAN = ((20, 1), (12, 2), (12, 4), (12, 8), (16, 8), (24, 8), (24, 16), (24, 32))
"""Steps of each round, and the most leapfrog steps in each step; the last round repeats."""

FIRST_CHECK = 3
"""Rounds before the pool may settle: until then the metric is far from settled."""

FIRST_OF_NO_DRIFT = 5
"""The same for a pool that settles as it drifts no more: rounds are 24 steps long from there on. In
shorter rounds a chain that remembers for twenty steps hardly drifts, and misses narrow places."""

LARGEST_RHAT = 1.5
"""Of a pool that has settled. Twelve independent draws of each helper give 1.04."""

WIDEST_GAP = 4.0
"""Between helpers that have settled as they drift no more, in standard deviations of one. Modes six
apart leave a gap of five, and those that are nearer are left."""

LARGEST_CHANGE = 1.0
"""Of the logarithm of any variance of the metric, from the round before."""

SHORTEST = 0.75
"""The part of the trajectory length that a settled pool must reach."""

AT_MODE = 1.0
"""The first step size of helpers around the mode is this over the fourth root of the unknowns."""

HIGHEST_TARGET = 0.97
"""The rate of acceptance above which divergences no longer make the step size smaller.

Where some of a round's thousand trajectories diverge, narrow places are closed to steps of this
size, and the helpers do not show what lies behind. At a rate of 0.8 a banana's tails beyond two
standard deviations are cut off, and its largest variance comes out at 66 to 74 %; with this rule,
at 93 to 100 %.
"""

MOST_ROUNDS = 32
"""The most rounds that are made; each keeps a summary."""


class Summary(NamedTuple):
    """What one round found.

    Attributes:
        num_gradients: gradients that followed one another so far, from the start on.
        step_size: at the end of the round.
        acceptance_rate: mean of the helpers that are kept.
        num_integration_steps: mean of the round's trajectories.
        num_replaced: helpers that were stuck or lost.
        num_divergent: trajectories of all helpers, in the second half of the round.
        rhat: over the helpers, the largest of all unknowns and of the log density.
        worst: which unknown that is, or their number for the log density.
        drift: from the round before, in units of the largest by chance, inf in the first round.
        gap: between helpers, in standard deviations of one: see `pooling.gap_of`.
        logdensity: median of the helpers.
    """

    num_gradients: Int[Array, "..."]
    step_size: Float[Array, "..."]
    acceptance_rate: Float[Array, "..."]
    num_integration_steps: Float[Array, "..."]
    num_replaced: Int[Array, "..."]
    num_divergent: Int[Array, "..."]
    rhat: Float[Array, "..."]
    worst: Int[Array, "..."]
    drift: Float[Array, "..."]
    gap: Float[Array, "..."]
    logdensity: Float[Array, "..."]


class Pool(NamedTuple):
    """The helpers between two rounds.

    Attributes:
        x: positions, ``(K, D)``.
        log_step_size: of the next step.
        target_acceptance_rate: the rate that the step size is adapted for.
        inverse_mass_matrix: variances ``(D,)`` or a covariance ``(D, D)``.
        num_gradients, num_rounds: so far.
        settled: whether the last round found nothing more to do.
        moments: of the last round's draws and log densities.
        summaries: of each round, `MOST_ROUNDS` of them; those of later rounds are zero.
        from_mode: whether the helpers started around the mode, as `laplace.normal_at_mode` found.
    """

    x: Float[Array, "K D"]
    log_step_size: Float[Array, ""]
    target_acceptance_rate: Float[Array, ""]
    inverse_mass_matrix: Array
    num_gradients: Int[Array, ""]
    num_rounds: Int[Array, ""]
    settled: Bool[Array, ""]
    moments: Moments
    summaries: Summary
    from_mode: Bool[Array, ""]

    @property
    def stage(self) -> Int[Array, ""]:
        """Rounds so far, counting the `FIRST_CHECK` that are left out from the mode."""
        return self.num_rounds + FIRST_CHECK * self.from_mode


def adapt_pool(
    logdensity_fn: Callable[[Float[Array, " D"]], Float[Array, ""]],
    rng_key: Any,
    x: Float[Array, "K D"],
    max_gradients: Any,
    estimate: Estimate,
    target_acceptance_rate: float,
    blocks: Bool[Array, "D D"] | None = None,
) -> Pool:
    """Rounds until the pool has settled, or the next would take too many gradients. Traceable.

    Args:
        logdensity_fn: of a vector.
        rng_key: typed or raw.
        x: where the helpers start, if not around the mode (see `laplace`); those whose density is
            not finite are replaced by others.
        max_gradients: the most gradients that follow one another.
        estimate: the metric from draws, as in `pooling`.
        target_acceptance_rate: the rate that the step size is adapted for; raised where
            trajectories diverge.
        blocks: entries of a dense metric that may differ from zero; all by default.
    """
    plan = jnp.array(PLAN, jnp.int32)

    def of_plan(pool: Pool):
        return plan[jnp.minimum(pool.stage, len(PLAN) - 1)]

    def goes_on(pool: Pool) -> Bool[Array, ""]:
        num_steps, most = of_plan(pool)
        # One gradient to begin a round with, and those of its steps if the step size stays.
        length = num_leapfrogs(pool.log_step_size, most)
        next_round = 1 + num_steps * length
        affordable = pool.num_gradients + next_round <= max_gradients
        return ~pool.settled & affordable & (pool.num_rounds < MOST_ROUNDS)

    def next_round(pool: Pool) -> Pool:
        num_steps, most = of_plan(pool)
        most = jnp.minimum(most, (max_gradients - pool.num_gradients - 1) // num_steps)
        key = jax.random.fold_in(rng_key, pool.num_rounds)
        return one_round(logdensity_fn, key, pool, num_steps, most, estimate, blocks)

    finite = usable(logdensity_fn, x)
    D, none, zero = x.shape[-1], jnp.zeros((), jnp.int32), jnp.zeros((), x.dtype)
    summary = Summary(
        num_gradients=none,
        step_size=zero,
        acceptance_rate=zero,
        num_integration_steps=zero,
        num_replaced=none,
        num_divergent=none,
        rhat=zero,
        worst=none,
        drift=zero,
        gap=zero,
        logdensity=zero,
    )
    nowhere = Moments(jnp.zeros(D + 1, x.dtype), jnp.full(D + 1, jnp.inf, x.dtype))
    identity = jnp.ones(D, x.dtype) if estimate is variances else jnp.eye(D, dtype=x.dtype)
    start = Pool(
        x=replaced(x, finite),
        log_step_size=jnp.log(jnp.asarray(0.05, x.dtype)),
        target_acceptance_rate=jnp.asarray(target_acceptance_rate, x.dtype),
        inverse_mass_matrix=identity,
        num_gradients=none + 1,
        num_rounds=none,
        settled=jnp.zeros((), bool),
        moments=nowhere,
        summaries=jax.tree.map(lambda leaf: jnp.zeros(MOST_ROUNDS, leaf.dtype), summary),
        from_mode=jnp.zeros((), bool),
    )
    key = jax.random.fold_in(rng_key, MOST_ROUNDS)
    usable_first = start.x[jnp.argsort(~finite)]
    normal = normal_at_mode(logdensity_fn, key, usable_first, max_gradients)
    if normal is not None:
        start = around(normal, start, estimate, blocks)
    return jax.lax.while_loop(goes_on, next_round, start)


def around(normal: Laplace, pool: Pool, estimate: Estimate, blocks: Any) -> Pool:
    """Helpers around the mode with the metric and a step size to match, if that holds."""
    matrix = normal.covariance
    if blocks is not None:
        matrix = jnp.where(blocks, matrix, 0)
    if estimate is variances:
        matrix = jnp.diagonal(matrix)
    D, dtype = pool.x.shape[-1], pool.x.dtype
    there = pool._replace(
        x=normal.x,
        log_step_size=jnp.log(jnp.asarray(AT_MODE / D**0.25, dtype)),
        inverse_mass_matrix=matrix,
        moments=Moments(
            jnp.append(normal.mean, normal.logdensity - D / 2),
            jnp.sqrt(jnp.append(jnp.diagonal(normal.covariance), D / 2)),
        ),
        from_mode=jnp.ones((), bool),
    )
    pool = jax.tree.map(lambda new, old: jnp.where(normal.holds, new, old), there, pool)
    return pool._replace(num_gradients=pool.num_gradients + normal.num_gradients)


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
    ready = (
        (pool.stage >= FIRST_CHECK)
        & (agree | stays)
        & (change < LARGEST_CHANGE)
        & accepts(acceptance, target)
        & (length > SHORTEST * TRAJECTORY_LENGTH)
        & (8 * num_good >= 7 * K)
        & fine
    )
    smaller = ready & (walked.num_divergent > 0) & (target < HIGHEST_TARGET)
    summary = Summary(
        num_gradients=num_gradients,
        step_size=jnp.exp(log_step_size),
        acceptance_rate=acceptance,
        num_integration_steps=mean_leapfrogs,
        num_replaced=K - num_good,
        num_divergent=walked.num_divergent,
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
        num_gradients=num_gradients.astype(jnp.int32),
        num_rounds=pool.num_rounds + 1,
        settled=ready & ~smaller,
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
