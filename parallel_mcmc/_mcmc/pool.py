"""The helpers of a warm-up between two rounds, and where they begin."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._mcmc.helpers import replaced, usable
from parallel_mcmc._mcmc.laplace import Laplace
from parallel_mcmc._mcmc.pooling import Estimate, Moments, variances

FIRST_CHECK = 3
"""Rounds before the pool may settle: until then the metric is far from settled."""

AT_MODE = 1.0
"""The first step size of helpers around the mode is this over the fourth root of the unknowns."""

MOST_ROUNDS = 32
"""The most rounds that are made, with 720 steps in all; each keeps a summary."""


class Summary(NamedTuple):
    """What one round found.

    Attributes:
        num_gradients: gradients that followed one another so far, from the start on.
        step_size: at the end of the round.
        acceptance_rate: mean of the helpers that are kept.
        num_integration_steps: mean of the round's trajectories.
        num_replaced: helpers that were stuck or lost.
        num_divergent: trajectories of the helpers that are kept, in the second half of the round.
        target_acceptance_rate: the rate that the step size was adapted for.
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
    target_acceptance_rate: Float[Array, "..."]
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
        num_steps: of each helper, so far.
        num_gradients, num_rounds: so far.
        ready: whether the last round found nothing more to do, divergent trajectories apart.
        settled: whether that is so, and no smaller step size is to be tried.
        diverges: whether in one of the rounds all was well except divergent trajectories, so that
            smaller steps are tried while more are allowed.
        moments: of the last round's draws and log densities.
        summaries: of each round, `MOST_ROUNDS` of them; those of later rounds are zero.
        from_mode: whether the helpers started around the mode, as `laplace.normal_at_mode` found.
    """

    x: Float[Array, "K D"]
    log_step_size: Float[Array, ""]
    target_acceptance_rate: Float[Array, ""]
    inverse_mass_matrix: Array
    num_steps: Int[Array, ""]
    num_gradients: Int[Array, ""]
    num_rounds: Int[Array, ""]
    ready: Bool[Array, ""]
    settled: Bool[Array, ""]
    diverges: Bool[Array, ""]
    moments: Moments
    summaries: Summary
    from_mode: Bool[Array, ""]

    @property
    def stage(self) -> Int[Array, ""]:
        """Rounds so far, counting the `FIRST_CHECK` that are left out from the mode."""
        return self.num_rounds + FIRST_CHECK * self.from_mode


def gathered(
    logdensity_fn: Callable, x: Float[Array, "K D"], estimate: Estimate, target_acceptance_rate: Any
) -> Pool:
    """Helpers where they start; of those without a finite density copies of others, at the end."""
    finite = usable(logdensity_fn, x)
    D, none, zero = x.shape[-1], jnp.zeros((), jnp.int32), jnp.zeros((), x.dtype)
    summary = Summary(
        num_gradients=none,
        step_size=zero,
        acceptance_rate=zero,
        num_integration_steps=zero,
        num_replaced=none,
        num_divergent=none,
        target_acceptance_rate=zero,
        rhat=zero,
        worst=none,
        drift=zero,
        gap=zero,
        logdensity=zero,
    )
    nowhere = Moments(jnp.zeros(D + 1, x.dtype), jnp.full(D + 1, jnp.inf, x.dtype))
    identity = jnp.ones(D, x.dtype) if estimate is variances else jnp.eye(D, dtype=x.dtype)
    return Pool(
        x=replaced(x, finite)[jnp.argsort(~finite)],
        log_step_size=jnp.log(jnp.asarray(0.05, x.dtype)),
        target_acceptance_rate=jnp.asarray(target_acceptance_rate, x.dtype),
        inverse_mass_matrix=identity,
        num_steps=none,
        num_gradients=none + 1,
        num_rounds=none,
        ready=jnp.zeros((), bool),
        settled=jnp.zeros((), bool),
        diverges=jnp.zeros((), bool),
        moments=nowhere,
        summaries=jax.tree.map(lambda leaf: jnp.zeros(MOST_ROUNDS, leaf.dtype), summary),
        from_mode=jnp.zeros((), bool),
    )


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
