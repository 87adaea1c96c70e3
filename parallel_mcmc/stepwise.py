"""Step by step: the sequential reference, and the finish of a solve that did not converge."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc.linearize import Recursion


def scan_steps(f: Recursion, x0: Float[Array, " D"], inputs: Any) -> Float[Array, "T D"]:
    """x_1..x_T by a plain `jax.lax.scan`: what every solver must reproduce."""

    def step(x, u):
        x = f(x, u)
        return x, x

    return jax.lax.scan(step, x0, inputs)[1]


def finish(
    f: Recursion,
    states: Float[Array, "L D"],
    x_start: Float[Array, " D"],
    inputs: Any,
    first: Int[Array, ""],
    last: Int[Array, ""] | int,
) -> Float[Array, "L D"]:
    """Replace ``states[first:last]`` step by step.

    In pieces of about sqrt(L) steps: under `vmap` every turn of a `while_loop`
    copies the whole trajectory, which must not happen at every step. Where no
    chain needs it, no piece is run.
    """
    length = states.shape[0]
    piece = max(1, int(length**0.5))

    def body(carry):
        states, t = carry
        begin = jnp.minimum(t, length - piece)
        x = jnp.where(begin == 0, x_start, states[begin - 1])
        known = jax.lax.dynamic_slice_in_dim(states, begin, piece)

        def step(x, data):
            u, index, known = data
            x = jnp.where((index < t) | (index >= last), known, f(x, u))
            return x, x

        data = (rows(inputs, begin, piece), begin + jnp.arange(piece, dtype=jnp.int32), known)
        _, done = jax.lax.scan(step, x, data)
        return jax.lax.dynamic_update_slice_in_dim(states, done, begin, 0), t + piece

    return jax.lax.while_loop(lambda carry: carry[1] < last, body, (states, first))[0]


def rows(tree: Any, begin: Int[Array, ""], length: int) -> Any:
    """``length`` rows of every leaf, from ``begin`` on."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, begin, length), tree)
