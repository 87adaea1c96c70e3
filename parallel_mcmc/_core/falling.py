"""How far the states are off, where residuals are small: the more, the slower they have fallen.

A residual is what one iteration changes; the error of a state is the sum of all changes to come.
Where Newton's method converges the next change is the last. By Jacobi, on a chain that forgets a
hundredth at a time, residuals fall by a hundredth at a time, and states are off by a hundred times
as much: a decision within that error would stand, wrong, in a window whose residuals are rounding.

Let residuals fall from a spread to a few grains of it, `FEW`, in n iterations, always by the same
factor c. Then n log(c) is the logarithm of these few grains, and what is left to come is
1 / (1 - c) times a residual, about n / -log(few grains). States may stand once that is within a few
grains. Mostly less is left, which shows after so many iterations more: errors then fall by a factor
of e, and what is left is 1 / (e - 1) of what the states moved meanwhile. Where states move on by as
much as before, they tremble, by the rounding of the steps themselves.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.constants import FEW, NO_FARTHER, NOISE, NOT_FALLING, PROPORTION, WAIT
from parallel_mcmc._core.tolerance import grain


class Snapshot(NamedTuple):
    """The states of a block at the last check whether they may stand.

    Attributes:
        states: ``(L, D)``.
        num_iterations: until then; 0 where the iterations began.
        ask_from: iterations before it is worth checking again.
        moved: how far they were from the snapshot before, in units of the noise; NaN if that was
            the start of the iterations.
    """

    states: Float[Array, "L D"]
    num_iterations: Int[Array, ""]
    ask_from: Int[Array, ""]
    moved: Float[Array, ""]


def no_snapshot(states: Float[Array, "L D"]) -> Snapshot:
    """Where the iterations begin."""
    none = jnp.zeros((), jnp.int32)
    return Snapshot(states, none, none, jnp.full((), jnp.nan, states.dtype))


def another(
    last: Snapshot,
    states: Float[Array, "L D"],
    moved: Float[Array, ""],
    num_iterations: Int[Array, ""],
    slowness: Float[Array, ""] | None,
) -> Snapshot:
    """The snapshot to compare with at the next check; the arguments are those of `come_down`."""
    wait = num_iterations if slowness is None else jnp.ceil(slowness).astype(jnp.int32)
    wait = jnp.maximum(wait, WAIT)
    moved = jnp.where(last.num_iterations > 0, moved, jnp.nan)
    return Snapshot(states, num_iterations, num_iterations + wait, moved)


def slowness_of(num_iterations: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
    """1 / (1 - c), if residuals have come down to a few grains in so many iterations."""
    return jnp.maximum(num_iterations / -math.log(FEW * grain(dtype)), 1)


def come_down(
    last: Snapshot,
    left: Float[Array, ""],
    moved: Float[Array, ""],
    num_iterations: Int[Array, ""],
    slowness: Float[Array, ""] | None,
) -> Bool[Array, ""]:
    """Whether states are as near as they come.

    Args:
        last: snapshot.
        left: the typical residual, in units of the noise.
        moved: how far the states are from the last snapshot.
        num_iterations: so far.
        slowness: see `slowness_of`; None where the user gave the first iterate: then the number
            of iterations says nothing. Each wait is then as long as all before it, and what still
            moves on at its pace moves twice as far.
    """
    few = FEW / NOISE
    has_waited = (num_iterations >= last.ask_from) & (last.num_iterations > 0)
    little = moved <= (math.e - 1) * few
    if slowness is None:
        return has_waited & little & (moved <= NO_FARTHER * last.moved)
    waited, wait = num_iterations - last.num_iterations, last.ask_from - last.num_iterations
    trembles = (moved >= NOT_FALLING * last.moved) & (moved <= PROPORTION)
    trembles &= 2 * waited <= 3 * wait  # in a longer one states move farther
    return (left * slowness <= few) | (has_waited & (little | trembles))


def typical(size: Float[Array, " W"], wanted: Bool[Array, " W"], slides: bool) -> Float[Array, ""]:
    """The root mean square of sizes in units of the noise; the largest in a window that slides.

    There residuals rise along the window.
    """
    size = jnp.where(wanted, size, 0)
    if slides:
        return jnp.max(size)
    return jnp.sqrt(jnp.sum(size**2) / jnp.sum(wanted))
