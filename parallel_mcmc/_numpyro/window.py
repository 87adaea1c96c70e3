"""A window of draws, solved at once and handed out one by one.

NumPyro's `MCMC` asks a kernel for one draw at a time. The state keeps a buffer of the draws of one
window; when it is used up, or was drawn with another key than the state now has or for other
arguments of the model, the next window is solved. The noise of step i comes from
``fold_in(rng_key, i)``: so the draws depend neither on the length of the window nor on whether
there is one, and a chain continued from its last state is the chain run in one go.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from parallel_mcmc._core import across
from parallel_mcmc._core.diagnostics import Predictability, assess
from parallel_mcmc._core.report import ConvergenceWarning, SolveInfo, Status, describe_failure
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._mcmc.runs import run_parallel
from parallel_mcmc._mcmc.transition import recursion
from parallel_mcmc._numpyro.chain import Chain, draws_of, gradient_of
from parallel_mcmc._numpyro.state import Buffer, Draws, Options, ParallelState, advanced

ADVICE = "Try a higher `target_accept_prob`, `thinning='auto'` of `pm.MCMC` or `pm.centering`"
"""Where a chain was not solved, in NumPyro's words."""


def solve_steps(
    chain: Chain,
    x: Float[Array, " D"],
    rng_key: Any,
    begin: Int[Array, ""],
    num_steps: int,
    options: Options,
    diagnose: bool,
    tell: Callable | None = None,
    with_gradients: bool = True,
    probes_key: Any = None,
) -> tuple[Draws, SolveInfo, Predictability | None]:
    """The draws of ``num_steps`` steps from ``x``, all at once, and how they were found.

    Without gradients ``z_grad`` has one row, of the last draw: they are as large as the draws.
    Where time lies over several devices, the steps are those of one of them.
    """
    state = chain.transition.unravel(x)

    def inputs_of(i):
        return chain.draw_input(jax.random.fold_in(rng_key, i), state)

    inputs = jax.vmap(inputs_of)(begin + across.numbers(num_steps, begin.dtype))
    last, draws, info = run_parallel(
        chain.transition,
        state,
        inputs,
        solver=options.solver,
        window=options.window if across.devices() is None else None,
        rng_key=probes_key,
        transform=draws_of(chain, with_gradients),
        tell=tell,
    )
    if not with_gradients:
        only = jax.tree.map(lambda leaf: leaf[None], gradient_of(chain, last))
        draws = draws._replace(z_grad=only)
    if not diagnose:
        return draws, info, None
    tol = aimed_at(options.solver.tol, x.dtype)
    return draws, info, assess(recursion(chain.transition), x, inputs, draws.x, tol)


def warn_once(warned: set[bytes], rng_key: Any, info: SolveInfo) -> None:
    """Warn of a window that did not converge, from inside `jit`; once per chain (by its key)."""

    def warn(key_data, info):
        message, chain = describe_failure(info, ADVICE), np.asarray(key_data).tobytes()
        if message and chain not in warned:
            warned.add(chain)
            warnings.warn(message, ConvergenceWarning, stacklevel=2)

    def call(_):
        jax.debug.callback(warn, jax.random.key_data(rng_key), info)
        return jnp.zeros((), bool)

    # A loop that does not run if all is well: a call back to Python costs as much as many draws.
    jax.lax.while_loop(lambda failed: failed, call, info.status != Status.CONVERGED)


def is_stale(state: ParallelState, data: UInt32[Array, ""]) -> Bool[Array, ""]:
    """Whether no draws are left, or the chain goes on with another key or for other data.

    `MCMC.run` after a warm-up gives a state another key; the fingerprint of the model's
    arguments, ``data``, is that of the call.
    """
    buffer = state.buffer
    key, expected = jax.random.key_data(state.rng_key), jax.random.key_data(buffer.rng_key)
    used_up = buffer.used >= length_of(buffer)
    return used_up | jnp.any(key != expected) | (data != buffer.data)


def refilled(
    state: ParallelState, draws: Draws, info: SolveInfo, data: UInt32[Array, ""]
) -> ParallelState:
    buffer = Buffer(draws, jnp.zeros_like(state.buffer.used), state.rng_key, data)
    return state._replace(buffer=buffer, solve=info)


def emptied(state: ParallelState) -> ParallelState:
    """With nothing to hand out, so that the next draw solves a window."""
    used = jnp.full_like(state.buffer.used, length_of(state.buffer))
    return state._replace(buffer=state.buffer._replace(used=used))


def popped(state: ParallelState) -> ParallelState:
    """With the next draw of the buffer."""
    index = state.buffer.used
    draw = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), state.buffer.draws
    )
    state = advanced(state, draw)
    return state._replace(buffer=state.buffer._replace(used=index + 1))


def resized(state: ParallelState, length: int) -> ParallelState:
    """With an empty buffer of another length."""
    time = state.buffer.draws.x.ndim - 2

    def empty(leaf):
        shape = (*leaf.shape[:time], length, *leaf.shape[time + 1 :])
        return jnp.zeros(shape, leaf.dtype)

    if length == length_of(state.buffer):
        return state
    draws = jax.tree.map(empty, state.buffer.draws)
    used = jnp.full_like(state.buffer.used, length)
    return state._replace(buffer=state.buffer._replace(draws=draws, used=used))


def length_of(buffer: Buffer) -> int:
    return buffer.draws.x.shape[-2]
