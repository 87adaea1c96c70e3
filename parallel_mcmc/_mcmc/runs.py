"""The two ways to run a transition: step by step, and all steps at once.

A solve carries only the least Markov state. Once it is solved, one last pass over all steps gives
states and infos. That pass is another program. Where an accept decision ties within rounding, that
program may reach another state than the solve, one that the next step does not agree with. There
the state is rebuilt from the solved x.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._core import across
from parallel_mcmc._core.checks import check_window
from parallel_mcmc._core.constants import PROPORTION
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._core.report import SolveInfo, Status, most_ties
from parallel_mcmc._core.rows import either, every, some_rows
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.time_blocks import map_steps_keep_last
from parallel_mcmc._core.tolerance import noise, spread
from parallel_mcmc._core.windows import run_info, solve_vectors
from parallel_mcmc._mcmc.transition import Transition, recursion

NUM_TOLD = 20
"""How often a run step by step reports its progress."""


def keep_all(state: Any, info: Any) -> Any:
    return state, info


@one_matrix_at_a_time
def run_sequential(
    transition: Transition,
    state: Any,
    inputs: Any,
    transform: Callable = keep_all,
    tell: Callable | None = None,
) -> tuple[Any, Any, SolveInfo]:
    """Step by step with the kernel's own cached states: what every solver must reproduce.

    Args:
        transition, state, inputs, transform: as in `run_parallel`.
        tell: called about `NUM_TOLD` times with the number of steps run.

    Returns:
        The final state, ``transform(state, info)`` of every step, and a `SolveInfo`.
    """
    if across.devices() is not None:
        return run_in_turn(transition, state, inputs, transform)
    num_steps = jax.tree.leaves(inputs)[0].shape[0]
    steps = None if tell is None else jnp.arange(1, num_steps + 1)

    def body(state, data):
        u, t = data
        state, info = transition.step(state, u)
        if tell is not None:
            told = t % max(1, num_steps // NUM_TOLD) == 0
            jax.lax.cond(told, lambda: tell(t), lambda: None)
        finite = jnp.all(jnp.isfinite(transition.ravel(state)))
        return state, (transform(state, info), finite)

    with jax.default_matmul_precision("highest"):
        final_state, (history, finite) = jax.lax.scan(body, state, (inputs, steps))
    dtype = jax.eval_shape(transition.ravel, state).dtype
    return final_state, history, run_info(finite, dtype)


@one_matrix_at_a_time
def run_parallel(
    transition: Transition,
    state: Any,
    inputs: Any,
    *,
    solver: Solver,
    window: int | None = None,
    rng_key: Any = None,
    transform: Callable = keep_all,
    tell: Callable | None = None,
) -> tuple[Any, Any, SolveInfo]:
    """`run_sequential`, solved in parallel over time. Traceable: call it inside `jit`.

    Args:
        transition: the kernel.
        state: where the chain starts.
        inputs: its randomness: ``transition.draw_inputs(keys_of_steps(rng_key, T), state)``.
        solver, window, rng_key: as in `parallel_mcmc.solve`.
        transform: what to keep of ``(state, info)`` of each step.
        tell: called with the number of steps solved as iterations proceed.

    Returns:
        The final state, ``transform(state, info)`` of every step, and a `SolveInfo`.

    Where time lies over several devices, ``inputs`` and what is returned of every step are the
    piece of one of them.
    """
    if solver.linearize is None:
        return run_sequential(transition, state, inputs, transform, tell)
    transition = on_one_device(transition)
    x0 = transition.ravel(state)
    num_steps = jax.tree.leaves(inputs)[0].shape[0]
    window = check_window(window, num_steps)
    trajectory, info = solve_vectors(
        recursion(transition),
        x0,
        inputs,
        solver,
        window,
        jax.random.key(0) if rng_key is None else rng_key,
        most_ties=most_ties(across.whole(window)),
        tell=tell,
    )

    scale = spread(trajectory)
    first = across.from_before(trajectory, x0)

    def last_pass(t, u, x):
        x_prev = jnp.where(t == 0, first, trajectory[t - 1])
        state, info = transition.step(transition.unravel(x_prev), u)
        # A state that stands because it trembles may come out this far off; that is no tie.
        allowed = jnp.maximum(2 * (solver.tol or 0) * scale, PROPORTION * noise(x, scale))
        near = jnp.abs(transition.ravel(state) - x) <= allowed
        ties = jnp.any(jnp.isfinite(x) & ~near)
        solved = transition.unravel(x)
        state = either(ties, solved, state)
        finite = jnp.all(jnp.isfinite(transition.ravel(state)))
        return (transform(state, info), ties, finite), state

    with jax.default_matmul_precision("highest"):
        (history, ties, finite), final_state = map_steps_keep_last(
            last_pass, jnp.arange(num_steps), inputs, trajectory
        )
    num_ties = jnp.maximum(across.total(jnp.sum(ties, dtype=jnp.int32)), info.num_ties)
    num_steps = across.whole(num_steps)
    too_many = num_ties > most_ties(num_steps)
    kept = (history, finite), across.of_last(final_state)
    (history, finite), final_state = run_anew(transition, state, inputs, transform, too_many, kept)
    status = jnp.where(too_many, Status.FINISHED_SEQUENTIALLY, info.status)
    info = info._replace(
        status=jnp.where(every(finite), status, Status.NON_FINITE).astype(jnp.int32),
        frontier=jnp.where(too_many, 0, info.frontier),
        num_sequential_steps=jnp.where(too_many, num_steps, info.num_sequential_steps),
        num_ties=num_ties,
    )
    return final_state, history, info


def run_anew(
    transition: Transition, state: Any, inputs: Any, transform: Callable, failed: Any, kept: Any
) -> Any:
    """What is ``kept`` of a solve or, if that ``failed``, the same from a run step by step.

    In pieces, and in loops that do not run if all is well, as in `stepwise.finish`. Devices take
    turns.
    """
    history, final_state = kept
    start = jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), state, final_state)
    if across.devices() is None:
        history, anew = run_anew_here(transition, start, inputs, transform, failed, history)
        return history, either(failed, anew, final_state)

    def run(is_mine, carry):
        history, last = carry
        first = jax.tree.map(lambda a, b: across.from_before(a[None], b), last, start)
        history, end = run_anew_here(
            transition, first, inputs, transform, failed & is_mine, history
        )
        return history, either(is_mine, end, last)

    history, anew = across.in_turn(run, (history, start))
    return history, either(failed, across.of_last(anew), final_state)


def run_anew_here(
    transition: Transition, start: Any, inputs: Any, transform: Callable, failed: Any, history: Any
) -> Any:
    """`run_anew` on one device; returns the history and, if that failed, the last state."""
    index = jnp.arange(jax.tree.leaves(inputs)[0].shape[0])
    piece = math.isqrt(index.size)

    def run_piece(carry):
        t, state, history = carry
        begin = jnp.minimum(t, index.size - piece)

        def step(state, data):
            t_now, u, known = data
            new, info = transition.step(state, u)
            made = new, (transform(new, info), jnp.all(jnp.isfinite(transition.ravel(new))))
            again = t_now >= t
            return either(again, made, (state, known))

        state, made = jax.lax.scan(step, state, some_rows((index, inputs, history), begin, piece))
        history = jax.tree.map(
            lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, begin, 0), history, made
        )
        return begin + piece, state, history

    with jax.default_matmul_precision("highest"):
        begin = jnp.where(failed, 0, index.size)
        _, anew, history = jax.lax.while_loop(
            lambda carry: carry[0] < index.size, run_piece, (begin, start, history)
        )
    return history, anew


def run_in_turn(
    transition: Transition, state: Any, inputs: Any, transform: Callable
) -> tuple[Any, Any, SolveInfo]:
    """`run_sequential` where time lies over several devices, which take turns."""
    transition = on_one_device(transition)

    def result(state, u):
        state, info = transition.step(state, u)
        return state, (transform(state, info), jnp.zeros((), bool))

    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    final_state, row = jax.eval_shape(result, state, first)
    length = jax.tree.leaves(inputs)[0].shape[0]
    none = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), row)
    start = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), state, final_state)
    kept, always = (none, start), jnp.ones((), bool)
    (history, finite), state = run_anew(transition, state, inputs, transform, always, kept)
    return state, history, run_info(finite, jax.eval_shape(transition.ravel, start).dtype)


def on_one_device(transition: Transition) -> Transition:
    """The transition, with functions that do not see the devices over which time lies."""
    return transition._replace(
        step=across.alone(transition.step),
        ravel=across.alone(transition.ravel),
        unravel=across.alone(transition.unravel),
    )
