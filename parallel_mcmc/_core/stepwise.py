"""Step by step: the sequential reference, and the finish of a solve that did not converge."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.rows import some_rows


def scan_steps(f: Recursion, x0: Float[Array, " D"], inputs: Any) -> Float[Array, "T D"]:
    """x_1..x_T by a plain `jax.lax.scan`: the result that every solver must reproduce."""

    def step(x, u):
        x = f(x, u)
        return x, x

    return jax.lax.scan(step, x0, inputs)[1]


def finish(
    f: Recursion,
    states: Float[Array, "L D"],
    x_start: Float[Array, " D"],
    inputs: Any,
    wanted: Bool[Array, " L"],
    allowed: Float[Array, " D"],
    end: Int[Array, ""] | int | None = None,
) -> tuple[Float[Array, "L D"], Int[Array, ""]]:
    """Replace the ``wanted`` states step by step; also returns how many steps that took.

    The states after them, up to ``end``, are replaced as well, for as long as the state
    before has moved by more than ``allowed``.

    This runs in pieces of about sqrt(L) steps: under `vmap` every iteration of a
    `while_loop` copies the whole trajectory, which must not happen at every step. A piece
    that no chain needs is not run. Where time lies over several devices they take turns.
    """
    length = states.shape[0]
    end = across.whole(length) if end is None else end
    if across.devices() is None:
        return finish_piece(f, states, x_start, inputs, wanted, allowed, end)[:2]
    # Rows of this device are numbered from its first.
    end = end - across.rank() * length

    def run(is_mine, carry):
        states, moved, num_steps = carry
        first = across.from_before(states[-1:], x_start)
        came_in = across.from_before(moved[None], False)
        states, num_more, moves_on = finish_piece(
            f, states, first, inputs, wanted & is_mine, allowed, end, came_in & is_mine
        )
        return states, jnp.where(is_mine, moves_on, moved), num_steps + num_more

    carry = states, jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    states, _, num_steps = across.in_turn(run, carry)
    return states, across.total(num_steps)


def finish_piece(f, states, x_start, inputs, wanted, allowed, end, moved=None):
    """`finish` on one device; ``moved`` says whether the state before its rows has moved."""
    length = states.shape[0]
    piece = max(1, int(length**0.5))
    index = jnp.arange(length, dtype=jnp.int32)

    def next_wanted(t):
        ahead = wanted & (index >= t)
        return jnp.where(jnp.any(ahead), jnp.argmax(ahead), length).astype(jnp.int32)

    def body(carry):
        states, t, moved, num_steps = carry
        begin = jnp.minimum(t, length - piece)
        x = jnp.where(begin == 0, x_start, states[begin - 1])

        def step(carry, data):
            x, moved = carry
            u, index, wanted, known = data
            replaced = (index >= t) & (index < end) & (wanted | moved)
            x = jnp.where(replaced, f(x, u), known)
            # Written so that NaN counts as moved.
            now = replaced & ~jnp.all(jnp.abs(x - known) <= allowed)
            moved = jnp.where(index >= t, now, moved)
            return (x, moved), (x, replaced)

        data = some_rows((inputs, index, wanted, states), begin, piece)
        (_, moved), (done, replaced) = jax.lax.scan(step, (x, moved), data)
        t = begin + piece
        return (
            jax.lax.dynamic_update_slice_in_dim(states, done, begin, 0),
            jnp.where(moved, t, next_wanted(t)),
            moved,
            num_steps + jnp.sum(replaced, dtype=jnp.int32),
        )

    begin = next_wanted(0) if moved is None else jnp.where(moved, 0, next_wanted(0))
    moved = jnp.zeros((), bool) if moved is None else moved
    carry = (states, begin, moved, jnp.zeros((), jnp.int32))
    states, _, moved, num_steps = jax.lax.while_loop(lambda carry: carry[1] < length, body, carry)
    return states, num_steps, moved
