"""The error of states with small residuals: the slower residuals have fallen, the larger it is.

A residual is what one iteration changes; the error of a state is the sum of all changes to come.
Where Newton's method converges the next change is the last. By Jacobi, on a chain that forgets a
hundredth at a time, residuals fall by a hundredth at a time, and states are off by a hundred times
as much. A wrong decision within that error would be accepted, in a window with residuals of
rounding size.

Let residuals fall from a spread to a few grains of it, `FEW`, in n iterations, always by the same
factor c. Then n log(c) is the logarithm of these few grains, and the remaining error is 1 / (1 - c)
times a residual, about n / -log(few grains). States are accepted once that is within a few grains.
Mostly less remains. This shows after that many more iterations: errors then fall by a factor of e,
and the remaining error is 1 / (e - 1) of the distance that the states have moved in the meantime.
States that keep moving by as much as before tremble, by the rounding of the steps themselves.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import FEW, NO_FARTHER, NOISE, NOT_FALLING, PROPORTION, WAIT
from parallel_mcmc._core.tolerance import grain


class Snapshot(NamedTuple):
    """The states of a block at the last check for acceptance.

    Attributes:
        states: ``(L, D)``.
        num_iterations: until then, without those in which states were held; 0 at the start.
        ask_from: number of iterations from which a check is worthwhile again.
        moved: their distance from the previous snapshot, in units of the noise; NaN if that was
            the start of the iterations.
    """

    states: Float[Array, "L D"]
    num_iterations: Int[Array, ""]
    ask_from: Int[Array, ""]
    moved: Float[Array, ""]


def no_snapshot(states: Float[Array, "L D"]) -> Snapshot:
    """The snapshot at the start of the iterations."""
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
    """1 / (1 - c), if residuals have fallen to a few grains in this many iterations."""
    return jnp.maximum(num_iterations / -math.log(FEW * grain(dtype)), 1)


def come_down(
    last: Snapshot,
    left: Float[Array, ""],
    moved: Float[Array, ""],
    num_iterations: Int[Array, ""],
    slowness: Float[Array, ""] | None,
) -> Bool[Array, ""]:
    """Whether states are as close as they will get.

    Args:
        last: snapshot.
        left: the typical residual, in units of the noise.
        moved: how far the states are from the last snapshot.
        num_iterations: so far, without those in which states were held.
        slowness: see `slowness_of`; None if the user gave the first iterate: then the number of
            iterations says nothing. Each wait is then as long as all iterations before it, and
            states that keep their pace move twice as far.
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
    """The root mean square of sizes in units of the noise; in a sliding window, the largest.

    In a sliding window residuals rise along it.
    """
    size = jnp.where(wanted, size, 0)
    if slides:
        return jnp.max(size)
    return jnp.sqrt(across.total(jnp.sum(size**2)) / across.total(jnp.sum(wanted)))
