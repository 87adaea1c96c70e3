"""What is done where the frontier stalls: steps are made one by one, or guessed to stand still.

When nearly all of a chain is solved, a stretch may be left in which the map expands or accept
decisions tip, and which comes right by two or three steps per iteration. An iteration evaluates all
steps of the window, so steps made one by one get further there in the same time. Where all but an
eighth of the window is solved, and the last iteration by itself has advanced the frontier by less
than `MOST_STEPS`, the next iterate begins with as many steps from there.

A chain whose frontier moves on makes no such steps. Nor does a chain on any device but a CPU: there
a step is a dozen kernels or more and an iteration some sixty, and sixteen steps would cost several
iterations.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.constants import MOST_STEPS, STALLED
from parallel_mcmc._core.linearize import Recursion


def num_steps_to_make(
    near: Bool[Array, " W"], gained: Int[Array, ""], k: Int[Array, ""], num_left: Any
) -> Int[Array, ""]:
    """How many steps behind the frontier are made one by one in this iteration.

    Args:
        near: which steps are right up to noise.
        gained: steps by which the last iteration advanced the frontier, beyond those it made.
        k: the frontier, whose own step is f at a solved state and needs nothing.
        num_left: steps of the window that have to be solved; others are neither looked at nor made.
    """
    W = near.shape[0]
    num_left = jnp.minimum(num_left, W)
    num_bad = jnp.sum(~near & (jnp.arange(W) < num_left))
    stalls = (gained < MOST_STEPS) & (num_bad <= W // STALLED)
    return jnp.where(stalls, jnp.clip(num_left - 1 - k, 0, MOST_STEPS), 0).astype(jnp.int32)


def make_steps(
    f: Recursion,
    x: Float[Array, "W D"],
    k: Int[Array, ""],
    num_steps: Int[Array, ""],
    inputs: Any,
    offset: Any,
) -> Float[Array, "W D"]:
    """Replace ``num_steps`` states behind step k, which is solved, by those that follow from it.

    A `while_loop` that carries these states alone: under `vmap` it does not run where no chain has
    steps to make, and each iteration costs each chain a step.
    """
    length = min(MOST_STEPS, x.shape[0])
    first = jnp.minimum(k, x.shape[0] - 1) + 1
    begin = jnp.minimum(first, x.shape[0] - length)
    made = jax.lax.dynamic_slice_in_dim(x, begin, length)

    def make(carry):
        t, last, made = carry
        last = f(last, jax.tree.map(lambda leaf: leaf[offset + t], inputs))
        return t + 1, last, made.at[t - begin].set(last)

    start = first, x[first - 1], made
    _, _, made = jax.lax.while_loop(lambda carry: carry[0] < first + num_steps, make, start)
    return jax.lax.dynamic_update_slice_in_dim(x, made, begin, 0)


def num_standing_still(stood: Int[Array, ""], stands: Bool[Array, ""]) -> Int[Array, ""]:
    """For how many steps the chain is guessed to stand still behind the frontier, once it is 4.

    A chain that starts far out may reject hundreds of proposals before it moves. The iterates are
    elsewhere then, their maps say nothing about the start, and the frontier would go one step per
    iteration. The guess doubles in each iteration in which the step at the frontier ``stands``,
    that is, ends where it began.
    """
    return jnp.where(stands, jnp.clip(2 * stood, 1, 2**30), 0)
