"""The accept/reject step, with its uniform drawn beforehand."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from parallel_mcmc._core.rows import either


def draw_log_uniforms(rng_key: Any, num_steps: int, dtype: Any) -> Float[Array, " T"]:
    """Log u of u uniform on (0, 1]: minus a standard exponential."""
    return -jax.random.exponential(rng_key, (num_steps,), dtype)


def accept_or_reject(
    log_ratio: Float[Array, ""], log_uniform: Float[Array, ""], proposal: Any, current: Any
) -> tuple[Any, Float[Array, ""], Bool[Array, ""]]:
    """The proposal where log u < log ratio, else the current state; NaN means rejection.

    A choice, not a blend ``g y + (1 - g) x``, which is NaN for g = 0 and an infinite y. The
    derivative is that of the branch taken.

    Returns:
        The next state, the acceptance probability and whether the proposal was accepted.
    """
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    is_accepted = log_uniform < log_ratio
    state = either(is_accepted, proposal, current)
    return state, jnp.exp(jnp.minimum(log_ratio, 0.0)), is_accepted
