"""The next step of a chain, as NumPyro's `MCMC` asks for it.

During the warm-up it is taken and adapts; after it the step is the next draw of a window that was
solved in parallel. Both are loops that run once or not at all, rather than conditions: a batched
`lax.cond` runs both branches at every draw, and that would be a solve.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from parallel_mcmc._core.rows import either
from parallel_mcmc._numpyro.chain import first_step, start_of
from parallel_mcmc._numpyro.choice import choice_for_buffer
from parallel_mcmc._numpyro.fingerprint import fingerprint
from parallel_mcmc._numpyro.state import ParallelState, advanced
from parallel_mcmc._numpyro.window import (
    is_stale,
    length_of,
    popped,
    refilled,
    solve_steps,
    warn_once,
)

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.kernel import ParallelKernel


def next_state(
    kernel: "ParallelKernel", state: ParallelState, model_args: tuple, model_kwargs: dict
) -> ParallelState:
    """After one more step of one chain."""
    potential_fn = kernel.target(model_args, model_kwargs)
    arguments = model_args, model_kwargs
    num_adaptive = kernel.num_adaptive_steps(state.plan.num_warmup)
    is_sampling = state.i >= num_adaptive
    data = fingerprint(arguments)

    def solve(carry):
        # What the solve depends on changes from turn to turn. XLA moves out of a loop, and so
        # into every call, what it finds to be the same in all turns.
        state, x, i = carry
        chain = kernel.chain(potential_fn, state.z, state.adapt_state, arguments)
        options, length = choice_for_buffer(kernel, state.plan, x).options, length_of(state.buffer)
        options = options._replace(window=min(options.window or length, length))
        draws, info, predictability = solve_steps(
            chain, x, state.rng_key, i, length, options, kernel.diagnose
        )
        warn_once(kernel._warned, state.rng_key, info)
        state = refilled(state, draws, info, data)._replace(predictability=predictability)
        return state, draws.x[-1], i + length

    if num_adaptive:
        end = jnp.minimum(state.i + 1, num_adaptive)
        state = adapted_until(kernel, state, potential_fn, arguments, end)
    state, _, _ = jax.lax.while_loop(
        lambda carry: is_sampling & is_stale(carry[0], data), solve, (state, state.x, state.i)
    )
    # The buffer is not selected from, which would copy it.
    drawn = popped(state)
    used = jnp.where(is_sampling, drawn.buffer.used, state.buffer.used)
    buffer = state.buffer._replace(used=used)
    small = (drawn._replace(buffer=(), rng_key=()), state._replace(buffer=(), rng_key=()))
    chosen = either(is_sampling, *small)
    return chosen._replace(buffer=buffer, rng_key=state.rng_key)


def adapted_until(
    kernel: "ParallelKernel",
    state: ParallelState,
    potential_fn: Callable,
    model_args: tuple,
    end: Any,
) -> ParallelState:
    """The steps of the warm-up up to ``end``, where helpers have not done it already."""
    buffer = state.buffer
    state = jax.lax.while_loop(
        lambda state: ~state.warmup.settled & (state.i < end),
        lambda state: adaptive_step(kernel, state, potential_fn, model_args),
        state._replace(buffer=()),
    )
    return state._replace(i=jnp.maximum(state.i, end), buffer=buffer)


def adaptive_step(
    kernel: "ParallelKernel", state: ParallelState, potential_fn: Callable, model_args: tuple
) -> ParallelState:
    """One step of the warm-up."""
    chain = kernel.chain(potential_fn, state.z, state.adapt_state, model_args)
    with jax.default_matmul_precision("highest"):  # as in a solve
        _, draw = first_step(chain, state.z, state.rng_key, state.i)
    state = advanced(state, draw)
    made = state.warmup.num_gradients + draw.num_steps.astype(jnp.int32) + 1
    state = state._replace(warmup=state.warmup._replace(num_gradients=made))
    state = state._replace(adapt_state=kernel.adapt_update(state, potential_fn))
    # In the coordinates of the metric as it is now.
    chain = kernel.chain(potential_fn, state.z, state.adapt_state, model_args)
    return state._replace(x=start_of(chain, state.z, None))
