"""How perturbations grow between helpers, and trajectories shorter where they grow too much.

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

from parallel_mcmc._core.lyapunov import Exponent, Growth, renormalised
from parallel_mcmc._core.rows import either
from parallel_mcmc._mcmc.hmc import draw, hmc

DIVISIONS = (1, 2, 4, 8)
"""Parts of a quarter period, and steps that make a draw."""

TURNING, MEASURED = 8, 12
"""Steps in which a shadow turns to the direction that grows most, and those that count."""

MOST_RISE = 6.0
"""The most a perturbation may grow over any stretch of the chain, in nats."""


class Division(NamedTuple):
    """What was measured, and what follows from it.

    Attributes:
        number: parts of a trajectory, and steps that make a draw; 0 if that was not asked.
        rise: largest growth to expect over any stretch, for each of `DIVISIONS`; inf where the
            mean is not negative, 0 if that was not asked.
        growth: of perturbations in a step, that of such a part; NaN if it was not measured.
        num_gradients: gradients that followed one another.
    """

    number: Int[Array, ""]
    rise: Float[Array, " N"]
    growth: Growth
    num_gradients: Int[Array, ""]


def unmeasured(dtype: Any) -> Division:
    """Where nothing is measured."""
    none, nan = jnp.zeros((), jnp.int32), jnp.full((), jnp.nan, dtype)
    growth = Growth(Exponent(nan, nan), nan, jnp.zeros((), dtype))
    return Division(none, jnp.zeros(len(DIVISIONS), dtype), growth, none)


def measure(
    logdensity_fn: Callable,
    rng_key: Any,
    x: Float[Array, "K D"],
    steps_of_part: Callable[[Any], tuple[Any, Any]],
    inverse_mass_matrix: Array,
    settled: Any = True,
    num_draws: int | None = None,
    *,
    step_size_jitter: float,
) -> Division:
    """How perturbations grow, and by which division of a trajectory a chain is to be solved.

    That is the least of `DIVISIONS` with which it is expected to be solved, or 1 if there is none.

    Args:
        logdensity_fn: of a vector.
        rng_key: typed or raw.
        x: positions of helpers.
        steps_of_part: from the number of parts of a trajectory to the leapfrog steps of a part, and
            their size.
        inverse_mass_matrix: what the helpers have found.
        settled: whether they have settled; otherwise nothing is worth measuring.
        num_draws: of the chain; None if trajectories are not to be divided.
        step_size_jitter: of the chain, as in `hmc`.
    """
    numbers = jnp.array(DIVISIONS if num_draws else (1,), jnp.int32)

    def of_one(number):
        num_steps, h = steps_of_part(number)
        num_steps = jnp.where(settled, num_steps, 1)
        grown = log_growth(
            logdensity_fn, rng_key, x, h, inverse_mass_matrix, num_steps, step_size_jitter
        )
        return growth_of(grown[TURNING:]), num_steps

    growths, num_steps = jax.vmap(of_one)(numbers)
    num_gradients = (1 + (TURNING + MEASURED) * (jnp.max(num_steps) + 1)).astype(jnp.int32)
    nothing = unmeasured(x.dtype)
    number, rise, chosen = nothing.number, nothing.rise, nothing.number
    if num_draws:
        rise = highest_rise(growths, num_draws * numbers)
        bearable = (rise <= MOST_RISE) & settled
        chosen = jnp.where(jnp.any(bearable), jnp.argmax(bearable), 0)
        number = numbers[chosen]
    growth = jax.tree.map(lambda leaf: leaf[chosen], growths)
    return Division(number, rise, either(settled, growth, nothing.growth), num_gradients)


def log_growth(
    logdensity_fn: Callable,
    rng_key: Any,
    x: Float[Array, "K D"],
    step_size: Float[Array, ""],
    inverse_mass_matrix: Array,
    num_integration_steps: Int[Array, ""],
    step_size_jitter: float,
) -> Float[Array, "M K"]:
    """The logarithm of how much the distance to each helper's shadow grows, step by step.

    The distance is brought back to what it was after each step. A step in which a shadow decides
    otherwise than its helper, which is rare at so small a distance, counts as no growth. If the two
    meet, the step counts as the largest shrinkage that rounding lets us see.
    """
    most_seen = 0.5 * jnp.log(jnp.finfo(x.dtype).eps)
    # Jitter is a part of the inputs, which are drawn below.
    kernel = hmc(logdensity_fn, step_size, inverse_mass_matrix, num_integration_steps).at(x[0])
    key_v, key_steps = jax.random.split(rng_key)

    def move(w, inputs):
        state, info = kernel.step(kernel.unravel(w), inputs)
        return kernel.ravel(state), info.is_accepted

    def step(carry, m):
        w, v = carry
        inputs = draw(jax.random.fold_in(key_steps, m), w, step_size_jitter)
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


def growth_of(grown: Float[Array, "M K"]) -> Growth:
    """The mean and the long-run deviation: helpers are independent, their steps are not."""
    M, K = grown.shape
    of_helpers = jnp.mean(grown, axis=0)
    error = jnp.std(of_helpers) / K**0.5
    exponent = Exponent(jnp.mean(of_helpers), error)
    return Growth(exponent, error * (M * K) ** 0.5, jnp.zeros_like(error))


def highest_rise(growth: Growth, num_steps: Any) -> Float[Array, ""]:
    """The formula above, for a chain in which perturbations grow like this."""
    rate = -growth.exponent.value
    rise = growth.deviation**2 / (2 * rate) * jnp.log(jnp.asarray(num_steps, rate.dtype))
    return jnp.where(rate > 0, rise, jnp.inf)
