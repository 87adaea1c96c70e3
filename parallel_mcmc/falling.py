"""How far the states are off, where residuals are small: the more, the slower they have fallen.

A residual is what one iteration changes, and the error of a state the sum of all changes to come.
Where Newton's method converges the next one is the last. By Jacobi, on a chain that forgets a
hundredth at a time, residuals fall by a hundredth at a time, and states are off by a hundred
times as much: a decision within that would stand, wrong, in a window whose residuals are rounding.

From a spread to a few grains of it, `FEW`, they come in n iterations, if always by the same factor
c: then n log(c) is the logarithm of these few grains, and what is left to come is 1 / (1 - c) times
a residual, about n / -log(few grains). States may stand once that is within a few grains, root mean
square; or once the residuals have not fallen for a while: then they are the rounding of the steps
themselves.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.constants import FEW, NOISE, PART_OF_ITERATIONS, STAYED
from parallel_mcmc.tolerance import grain
from parallel_mcmc.trembling import Counted


class Level(NamedTuple):
    """The least sum of the residuals so far, and for how many evaluations it has been."""

    least: Float[Array, ""]
    num_evaluations: Int[Array, ""]


def no_level(x: Float[Array, "W D"]) -> Level:
    """Before the first evaluation."""
    return Level(jnp.full((), jnp.inf, x.dtype), jnp.zeros((), jnp.int32))


def come_down(
    level: Level,
    sums: Counted,
    worst: Float[Array, ""] | None,
    num_wanted: Int[Array, ""],
    num_iterations: Int[Array, ""],
    is_guessed: bool,
) -> tuple[Level, Bool[Array, ""]]:
    """The level with another evaluation, and whether residuals have come down as far as they will.

    Args:
        level: so far.
        sums: over the steps; where most states were moved to be looked at, they say nothing.
        worst: of a window that slides, along which residuals rise: the largest in units of the
            noise, which counts for all.
        num_wanted: how many steps have to be solved.
        num_iterations: so far, of the window.
        is_guessed: whether they began with what a user takes to be near the chain: then their
            number says nothing.
    """
    moved = 2 * sums.looked > sums.inexact
    falls = moved | (sums.size < 0.95 * level.least)
    level = Level(
        least=jnp.where(moved, jnp.inf, jnp.where(falls, sums.size, level.least)),
        num_evaluations=jnp.where(falls, 0, level.num_evaluations + 1),
    )
    stays = level.num_evaluations >= jnp.maximum(STAYED, num_iterations // PART_OF_ITERATIONS)
    if is_guessed:
        return level, stays
    each = jnp.sqrt(sums.square / num_wanted) if worst is None else worst
    log_few = math.log(FEW * grain(each.dtype))
    error = NOISE * each * jnp.maximum(num_iterations / -log_few, 1)
    return level, stays | (error <= FEW)
