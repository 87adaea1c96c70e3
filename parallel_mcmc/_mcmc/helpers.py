"""Starts for many chains, and helper chains of a warm-up: some steps of HMC of all at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._mcmc.hmc import draw, hmc, steps_of

TRAJECTORY_LENGTH = 1.2
"""Of a helper, in units of the metric: near a quarter period, and robust to a poor metric."""

GAIN = 1.5
"""By which the logarithm of the step size follows the acceptance, over the root of the step."""

ACCEPTS = 0.25
"""Mean acceptance below which a helper is stuck."""

FAR = 8.0
"""Robust deviations above the median potential, beyond which a helper is lost."""


def scatter(rng_key: Any, position: Any, num_chains: int, radius: float = 2.0) -> Any:
    """Starts for several chains, uniform within ``radius`` of a position in every coordinate.

    Far apart on purpose: R-hat can tell that chains forgot where they started only if
    they started in different places.
    """
    x, unravel = ravel_pytree(position)
    offsets = jax.random.uniform(rng_key, (num_chains, x.size), x.dtype, -radius, radius)
    return jax.vmap(unravel)(x + offsets)


class Walk(NamedTuple):
    """The state within a round: the helpers, the step size and its running mean, and kept draws.

    ``num_divergent`` are trajectories of the second half, of each helper.
    """

    state: Any
    log_step_size: Float[Array, ""]
    mean_log_step_size: Float[Array, ""]
    acceptance: Float[Array, " K"]
    draws: Float[Array, "N K D"]
    logdensities: Float[Array, "N K"]
    num_leapfrogs: Int[Array, ""]
    num_divergent: Int[Array, " K"]


def walk(
    logdensity_fn: Callable,
    rng_key: Any,
    x: Float[Array, "K D"],
    log_step_size: Float[Array, ""],
    inverse_mass_matrix: Array,
    num_steps: Int[Array, ""] | int,
    length_of: Callable[[Float[Array, ""]], Any],
    num_kept: int,
    target_acceptance_rate: Any,
) -> Walk:
    """Steps of HMC of all helpers at once, with the step size adapted after each of them.

    Args:
        logdensity_fn: of a vector.
        rng_key: typed or raw.
        x: where the helpers are.
        log_step_size: at the beginning.
        inverse_mass_matrix: throughout.
        num_steps: steps to take.
        length_of: leapfrog steps of a trajectory, given the logarithm of the step size.
        num_kept: room for draws from the second half of the steps.
        target_acceptance_rate: the rate that the step size is adapted for.
    """
    (K, D), dtype = x.shape, x.dtype
    first = num_steps - num_steps // 2
    init = hmc(logdensity_fn, 1.0, inverse_mass_matrix).at(x[0]).init

    def step(m, walk):
        length = length_of(walk.log_step_size)
        step_size = jnp.exp(walk.log_step_size)
        kernel = hmc(logdensity_fn, step_size, inverse_mass_matrix, length).at(x[0])

        def one(state, inputs):
            state, info = kernel.step(state, inputs)
            # Outside the support the energy is infinite, whatever the step size.
            return state, (info.acceptance_rate, info.is_divergent & ~jnp.isposinf(info.energy))

        inputs = draw(jax.random.fold_in(rng_key, m), walk.state.w)
        state, (rates, is_divergent) = jax.vmap(one)(walk.state, inputs)
        num_divergent = jnp.where(m >= first, is_divergent.astype(jnp.int32), 0)
        rates = jnp.where(jnp.isfinite(rates), rates, 0)
        rate, target = jnp.mean(rates), target_acceptance_rate
        # In units of how far off it can be, so that too small a step grows as fast as one shrinks.
        off = (rate - target) / jnp.where(rate > target, 1 - target, target)
        count = (m + 1).astype(dtype)
        log_step_size = jnp.clip(walk.log_step_size + GAIN * off / jnp.sqrt(count), -20, 0)
        weight = count**-0.75
        place = jnp.maximum(m - first, 0)

        def keep(buffer, rows):
            return jnp.where(m >= first, buffer.at[place].set(rows), buffer)

        return Walk(
            state=state,
            log_step_size=log_step_size,
            mean_log_step_size=weight * log_step_size + (1 - weight) * walk.mean_log_step_size,
            acceptance=walk.acceptance + rates / num_steps,
            draws=keep(walk.draws, state.position),
            logdensities=keep(walk.logdensities, state.logdensity),
            num_leapfrogs=walk.num_leapfrogs + length,
            num_divergent=walk.num_divergent + num_divergent,
        )

    begin = Walk(
        state=jax.vmap(lambda x: init(x, None))(x),
        log_step_size=log_step_size,
        mean_log_step_size=log_step_size,
        acceptance=jnp.zeros(K, dtype),
        draws=jnp.zeros((num_kept, K, D), dtype),
        logdensities=jnp.zeros((num_kept, K), dtype),
        num_leapfrogs=jnp.zeros((), jnp.int32),
        num_divergent=jnp.zeros(K, jnp.int32),
    )
    return jax.lax.fori_loop(0, num_steps, step, begin)


def num_leapfrogs(log_step_size, most) -> Int[Array, ""]:
    """Leapfrog steps of a trajectory of the wanted length, up to ``most``."""
    return steps_of(TRAJECTORY_LENGTH, jnp.exp(log_step_size), most)[0]


def good_ones(acceptance: Float[Array, " K"], logdensity: Float[Array, " K"]) -> Bool[Array, " K"]:
    """Helpers that are neither stuck nor lost; if these are few, all of finite density."""
    finite = jnp.isfinite(logdensity)
    potential = jnp.where(finite, -logdensity, jnp.inf)
    middle = jnp.median(potential)
    deviation = 1.5 * jnp.median(jnp.abs(potential - middle)) + 1
    good = finite & (acceptance >= ACCEPTS) & (potential <= middle + FAR * deviation)
    return jnp.where(4 * jnp.sum(good) > good.size, good, finite)


def replaced(x: Float[Array, "K D"], good: Bool[Array, " K"]) -> Float[Array, "K D"]:
    """The helpers, with the others replaced by copies of good ones, each of a different one."""
    good_first = jnp.argsort(~good)
    others = good_first[(jnp.cumsum(~good) - 1) % jnp.maximum(jnp.sum(good), 1)]
    return jnp.where((good | ~jnp.any(good))[:, None], x, x[others])


def usable(logdensity_fn: Callable, x: Float[Array, "K D"]) -> Bool[Array, " K"]:
    value, grad = jax.vmap(jax.value_and_grad(logdensity_fn))(x)
    return jnp.isfinite(value) & jnp.all(jnp.isfinite(grad), axis=-1)
