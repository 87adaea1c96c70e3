"""A step size for trajectories of a given number of steps, once helpers have found the metric."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from parallel_mcmc._mcmc.helpers import walk
from parallel_mcmc._mcmc.pool import Pool
from parallel_mcmc._mcmc.rounds import accepts

TUNING = 24
"""Steps of the kernel itself, if its trajectories are not those of the rounds."""


def cost_of_tuning(num_integration_steps: int | None) -> int:
    """Gradients that follow one another."""
    return 0 if num_integration_steps is None else 1 + TUNING * num_integration_steps


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
