"""Trajectories shorter than a quarter period, where over a whole one perturbations grow.

Over a quarter period of a normal posterior HMC forgets its state in one step. On a curved posterior
two chains with the same randomness may part over a quarter period; over a half or a fourth of it,
they mostly meet. Draws are less independent then, so several steps make one draw, with as many
leapfrog steps in all. A chain of more steps takes hardly more iterations.

What breaks a solve by Newton's method is not the mean growth of a perturbation but the largest
growth over any stretch of the chain. If the logarithm of the growth has a mean of -r and a long-run
variance s^2 per step, the largest is about

    s^2 / (2 r) * log T                       (the highest rise of a random walk that drifts down),

in nats, or somewhat less where the drift is slow. Suite `posteriors` of the benchmarks records it
beside the iterations.

Growth is measured between the helpers of a warm-up and their shadows, at a small distance and with
the same randomness. No derivative is needed, and the gradients of both are computed side by side.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc._core.lyapunov import renormalised
from parallel_mcmc._mcmc.hmc import draw, hmc, steps_of

DIVISIONS = (1, 2, 4, 8)
"""Parts of a quarter period, and steps that make a draw."""

TURNING, MEASURED = 8, 12
"""Steps in which a shadow turns to the direction that grows most, and those that count."""

MOST_RISE = 6.0
"""The most a perturbation may grow over any stretch of the chain, in nats."""


class Division(NamedTuple):
    """What was measured, and what follows from it.

    Attributes:
        number: parts of a trajectory, and steps that make a draw; 0 if nothing was measured.
        rise: largest growth to expect over any stretch, for each of `DIVISIONS`; inf where the
            mean is not negative.
        num_gradients: gradients that followed one another.
    """

    number: Int[Array, ""]
    rise: Float[Array, " N"]
    num_gradients: Int[Array, ""]


def undivided(dtype: Any) -> Division:
    """Where nothing is measured."""
    none = jnp.zeros((), jnp.int32)
    return Division(none, jnp.zeros(len(DIVISIONS), dtype), none)


def divide(
    logdensity_fn: Callable,
    rng_key: Any,
    x: Float[Array, "K D"],
    step_size: Float[Array, ""],
    inverse_mass_matrix: Array,
    trajectory_length: float,
    max_num_steps: int,
    num_draws: int,
) -> Division:
    """The least of `DIVISIONS` with which a chain is expected to be solved; 1 if there is none.

    Args:
        logdensity_fn: of a vector.
        rng_key: typed or raw.
        x: positions of helpers that have settled.
        step_size, inverse_mass_matrix: what they have found.
        trajectory_length, max_num_steps: of the kernel, undivided.
        num_draws: of the chain.
    """
    numbers = jnp.array(DIVISIONS, jnp.int32)

    def of_one(number):
        num_steps, h = steps_of(trajectory_length / number, step_size, max_num_steps)
        grown = growth(logdensity_fn, rng_key, x, h, inverse_mass_matrix, num_steps)
        return highest_rise(grown[TURNING:], num_draws * number), num_steps

    rise, num_steps = jax.vmap(of_one)(numbers)
    bearable = rise <= MOST_RISE
    number = jnp.where(jnp.any(bearable), numbers[jnp.argmax(bearable)], 1)
    num_gradients = 1 + (TURNING + MEASURED) * (jnp.max(num_steps) + 1)
    return Division(number, rise, num_gradients.astype(jnp.int32))


def growth(
    logdensity_fn: Callable,
    rng_key: Any,
    x: Float[Array, "K D"],
    step_size: Float[Array, ""],
    inverse_mass_matrix: Array,
    num_integration_steps: Int[Array, ""],
) -> Float[Array, "M K"]:
    """The logarithm of how much the distance to each helper's shadow grows, step by step.

    The distance is brought back to what it was after each step. A step in which a shadow decides
    otherwise than its helper, which is rare at so small a distance, counts as no growth. If the two
    meet, the step counts as the largest shrinkage that rounding lets us see.
    """
    most_seen = 0.5 * jnp.log(jnp.finfo(x.dtype).eps)
    kernel = hmc(logdensity_fn, step_size, inverse_mass_matrix, num_integration_steps).at(x[0])
    key_v, key_steps = jax.random.split(rng_key)

    def move(w, inputs):
        state, info = kernel.step(kernel.unravel(w), inputs)
        return kernel.ravel(state), info.is_accepted

    def step(carry, m):
        w, v = carry
        inputs = draw(jax.random.fold_in(key_steps, m), w)
        size = jnp.maximum(jnp.max(jnp.abs(w), axis=-1, keepdims=True), 1)
        distance = jnp.sqrt(jnp.finfo(w.dtype).eps * size)
        pairs = jnp.stack([w, w + distance * v])
        moved, accepted = jax.vmap(jax.vmap(move), in_axes=(0, None))(pairs, inputs)
        image, grown = jax.vmap(renormalised)(v, (moved[1] - moved[0]) / distance)
        fine = (accepted[0] == accepted[1]) & ~jnp.isnan(grown) & (grown < jnp.inf)
        v = jnp.where(fine[:, None], image, v)
        return (moved[0], v), jnp.where(fine, jnp.maximum(grown, most_seen), 0)

    w = jax.vmap(lambda x: kernel.ravel(kernel.init(x, None)))(x)
    v = jax.random.normal(key_v, w.shape, w.dtype)
    v = v / jnp.max(jnp.abs(v), axis=-1, keepdims=True)
    return jax.lax.scan(step, (w, v), jnp.arange(TURNING + MEASURED))[1]


def highest_rise(grown: Float[Array, "M K"], num_steps: Any) -> Float[Array, ""]:
    """The formula above, for a chain that goes on like these."""
    M = len(grown)
    rate = -jnp.mean(grown)
    variance = M * jnp.var(jnp.mean(grown, axis=0))
    rise = variance / (2 * rate) * jnp.log(jnp.asarray(num_steps, grown.dtype))
    return jnp.where(rate > 0, rise, jnp.inf)
