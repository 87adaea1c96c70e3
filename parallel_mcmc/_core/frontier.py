"""Where the frontier stalls: make steps one by one, or guess that the chain stands still.

When nearly all of a chain is solved, a stretch may be left in which the map expands or accept
decisions flip, and which is solved at two or three steps per iteration. An iteration evaluates all
steps of the window, so steps made one by one get further in the same time. If all but an eighth of
the window is solved, and the last iteration by itself has advanced the frontier by less than
`MOST_STEPS`, the next iterate begins with that many steps from there.

A chain whose frontier moves on makes no such steps. Nor does a chain on a device other than a CPU:
there a step is a dozen kernels or more and an iteration some sixty, and sixteen steps would cost
several iterations.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.constants import MOST_STEPS, STALLED


def num_steps_to_make(
    near: Bool[Array, " W"], gained: Int[Array, ""], k: Int[Array, ""], num_left: Any
) -> Int[Array, ""]:
    """How many steps after the frontier are made one by one in this iteration.

    Args:
        near: which steps are right up to noise.
        gained: steps by which the last iteration advanced the frontier, without those it made.
        k: the frontier; its own step is f at a solved state and needs nothing.
        num_left: steps of the window that have to be solved; others are ignored.
    """
    W = across.whole(near.shape[0])
    num_left = jnp.minimum(num_left, W)
    num_bad = across.total(jnp.sum(~near & (across.numbers(near.shape[0]) < num_left)))
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
    """Replace the ``num_steps`` states after step k, which is solved, by running f from there.

    A `while_loop` that carries only these states: under `vmap` it does not run if no chain has
    steps to make, and each iteration costs each chain a step. On a mesh all devices make the same
    steps, with their inputs gathered.
    """
    W = across.whole(x.shape[0])
    length = min(MOST_STEPS, W)
    first = jnp.minimum(k, W - 1) + 1
    begin = jnp.minimum(first, W - length)
    on_mesh = across.devices() is not None
    if on_mesh:
        made, inputs = across.some_rows((x, inputs), begin, length)
        offset = -begin
    else:
        made = jax.lax.dynamic_slice_in_dim(x, begin, length)

    def make(carry):
        t, last, made = carry
        last = f(last, jax.tree.map(lambda leaf: leaf[offset + t], inputs))
        return t + 1, last, made.at[t - begin].set(last)

    start = first, across.row_of(x, first - 1), made
    _, _, made = jax.lax.while_loop(lambda carry: carry[0] < first + num_steps, make, start)
    if on_mesh:
        return across.with_rows(x, made, begin)
    return jax.lax.dynamic_update_slice_in_dim(x, made, begin, 0)


def num_standing_still(stood: Int[Array, ""], stands: Bool[Array, ""]) -> Int[Array, ""]:
    """For how many steps after the frontier the chain is guessed to stand still; used from 4 on.

    A chain that starts far out may reject hundreds of proposals before it moves. The iterates are
    elsewhere then, their maps say nothing about the start, and the frontier would advance one step
    per iteration. The guess doubles in each iteration in which the step at the frontier ``stands``
    still, that is, ends where it began.
    """
    return jnp.where(stands, jnp.clip(2 * stood, 1, 2**30), 0)
