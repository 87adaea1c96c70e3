"""The one loop: parallel Newton and quasi-Newton iterations on a window of the recursion.

With the current states x, all t of the window at once:

    f_t, A_t = linearize(f, x_{t-1}, u_t)
    r_t      = f_t - x_t                                    the residual
    d_t      = A_t d_{t-1} + r_t                            one linear recurrence
    x_t     <- f_t + A_t d_{t-1}

Where residuals are not small the correction is limited: see `correction`.

Solving for the correction d instead of x itself has two effects. Rounding
in the scan is relative to d, which goes to zero. And where d_{t-1} is zero, x_t
becomes f_t to the last bit: the fixed point is the chain itself, not a neighbour of it.

By causality the leading states become exact one after the other, whatever A_t
is. The *frontier* is the number of leading steps that are solved, exactly or up to
trembling by units in the last place: see `trembling`. These steps no longer change. A window
that is shorter than the chain slides: steps before the frontier are
committed, and the rest of the window is the guess for the next one.

A solver may hand over to another one, which begins where it ends: see `solvers.jacobi`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.constants import ASK_AGAIN
from parallel_mcmc._core.correction import secant
from parallel_mcmc._core.falling import Snapshot, no_snapshot
from parallel_mcmc._core.judgement import Judgement, judged
from parallel_mcmc._core.moves import moves
from parallel_mcmc._core.outcome import (
    Block,
    Details,
    Limits,
    Outcome,
    Progress,
    outcome,
)
from parallel_mcmc._core.rows import (
    before,
    finite_rows,
    shift,
    some_rows,
    state_before,
    window_of,
    with_window,
)
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.time_blocks import map_steps
from parallel_mcmc._core.trembling import no_evidence


def iterate(
    f: Recursion,
    solver: Solver,
    block: Block,
    states: Float[Array, "L D"],
    frontier: Int[Array, ""],
    stood: Int[Array, ""],
    limits: Limits,
    rng_key: Any,
    tell: Callable | None = None,
) -> tuple[Progress, Judgement]:
    """Iterate until the block is solved, the limit is reached or f itself is not finite.

    Args:
        f: the recursion.
        solver: linearisation and correction, and what goes on after it.
        block: the steps.
        states: the first iterate; before ``frontier``, states that are already solved.
        frontier, stood: see `Progress`.
        limits: tolerance and bounds.
        rng_key: for random probes.
        tell: called with the frontier after each evaluation.
    """
    slides, then = block.window < states.shape[0], solver.then
    limits = limits._replace(hands_over=then is not None)
    offset_of = (lambda progress: progress.frontier) if slides else (lambda progress: 0)

    def inputs_from(offset):
        return some_rows(block.inputs, offset, block.window) if slides else block.inputs

    def evaluate(states, offset):
        first = state_before(states, block.x_start, jnp.asarray(offset))
        x_prev = before(window_of(states, offset, block.window), first)
        assert solver.linearize is not None  # `sequential()` does not come here
        return solver.linearize(f, x_prev, inputs_from(offset), rng_key)

    def judge(progress: Progress, snapshot: Snapshot) -> tuple[Judgement, Any, Any]:
        offset = offset_of(progress)

        def look(first, states):
            x_prev = jnp.stack([before(x, first) for x in states], axis=1)
            values = map_steps(jax.vmap(f, in_axes=(0, None)), x_prev, inputs_from(offset))
            return jnp.moveaxis(values, 1, 0)

        return judged(progress, snapshot, block, limits, offset, look)

    def iterate_once(progress: Progress) -> Progress:
        # The evaluation is in the carry, so that it is assessed only once.
        seen, details = outcome(progress, block, limits, offset_of(progress))
        # A branch makes a GPU wait for the host; one more evaluation, at the same states, does not.
        branches = jax.lax.platform_dependent(cpu=lambda: True, default=lambda: False)
        advanced = jax.lax.cond(
            branches & seen.stops, lambda: progress, lambda: advance(progress, seen, details)
        )
        return advanced._replace(
            num_resets=progress.num_resets + seen.num_replaced,
            num_limited=progress.num_limited + seen.num_limited,
            near_since=seen.near_since,
            stops=seen.stops,
            done=seen.done,
            early=seen.early,
        )

    def until_judged(carry: tuple[Progress, Judgement]) -> tuple[Progress, Judgement]:
        progress = carry[0]._replace(stops=jnp.zeros((), bool))
        progress = jax.lax.while_loop(lambda progress: ~progress.stops, iterate_once, progress)
        judgement, states, f_values = judge(progress, carry[1].snapshot)
        counted = jnp.zeros(block.window, bool)
        num_iterations = progress.num_iterations + judgement.looked
        limited = jnp.minimum(num_iterations, limits.max_iterations)
        # What must be exact will stay so: wait before the next check.
        later = num_iterations - progress.num_held + num_iterations // ASK_AGAIN + 1
        later = jnp.where(judgement.must_be_exact, later, 0)
        ask_from = jnp.maximum(judgement.snapshot.ask_from, later)
        progress = progress._replace(
            states=states,
            f_values=f_values,
            replaced=counted,
            limited=counted,
            ask_from=ask_from,
            num_iterations=limited,
            num_looks=progress.num_looks + limited - progress.num_iterations,
        )
        return progress, judgement

    def advance(progress: Progress, seen: Outcome, details: Details) -> Progress:
        offset, stops = offset_of(progress), seen.stops
        x, careful, evidence, stood, rests, replaced, limited, holds = moves(
            solver, block, offset, progress, seen, details
        )
        states, f_before = with_window(progress.states, offset, x), progress.f_values
        slide = jnp.zeros_like(seen.k)
        if slides:
            slide = jnp.where(stops, 0, seen.k)
            f_before = shift(f_before, slide)
            careful = None if careful is None else shift(careful, slide)
            rests = shift(rests, slide)
            none = no_evidence(x)
            evidence = evidence._replace(
                trembled=shift(evidence.trembled, slide, none.trembled),
                moved=shift(evidence.moved, slide, none.moved),
            )
        if slides and block.extend_guess:
            unseen = (jnp.arange(len(states)) >= offset + block.window)[:, None]
            states = jnp.where(unseen, x[-1], states)
        f_values, A = evaluate(states, offset + slide)
        # The evaluation that was assessed is the one to judge.
        f_values = jnp.where(stops, progress.f_values, f_values)
        factor = progress.factor
        if careful is not None:
            found = map_steps(secant, f_values - f_before, careful)
            factor = jnp.where(stops, factor, found)
        if tell is not None:
            tell(progress.frontier + seen.k)
        return progress._replace(
            states=states,
            frontier=progress.frontier + slide,
            f_values=f_values,
            A=A,
            factor=factor,
            evidence=evidence,
            stood=stood,
            rests=rests,
            num_iterations=progress.num_iterations + jnp.where(stops, 0, 1),
            replaced=replaced,
            limited=limited,
            num_held=progress.num_held + holds,
        )

    x = window_of(states, frontier, block.window)
    kind = jax.eval_shape(evaluate, states, frontier)[1]
    zero = jnp.zeros((), jnp.int32)
    progress = Progress(
        states=states,
        frontier=frontier,
        # A first "evaluation" that moves nothing; the first iteration then evaluates f.
        f_values=x,
        A=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), kind),
        factor=jnp.ones_like(x[:, 0]),
        evidence=no_evidence(x),
        stood=stood,
        rests=jnp.zeros(len(x), bool),
        replaced=jnp.zeros(len(x), bool),
        limited=jnp.zeros(len(x), bool),
        num_iterations=zero,
        num_in_turn=zero,
        num_looks=zero,
        num_resets=zero,
        num_limited=zero,
        near_since=zero,
        num_held=zero,
        ask_from=zero,
        stops=jnp.zeros((), bool),
        done=jnp.zeros((), bool),
        early=jnp.zeros((), bool),
    )
    cost = solver.gradients_in_turn
    if then is not None:
        done = jax.lax.while_loop(lambda progress: ~progress.stops, iterate_once, progress)
        n = done.num_iterations
        # Its first iterate is not the usual one, and what it takes says little of the chain.
        block = block._replace(num_before=jnp.maximum(block.num_before, n))
        stood = done.stood if slides else zero
        # One more move of Jacobi needs no evaluation.
        offset = offset_of(done)
        x = window_of(done.states, offset, block.window)
        x = jnp.where(finite_rows(done.f_values)[:, None], done.f_values, x)
        states = with_window(done.states, offset, x)
        progress, judgement = iterate(
            f, then, block, states, done.frontier, stood, limits, rng_key, tell
        )
        both = progress._replace(
            num_iterations=progress.num_iterations + n,
            num_in_turn=progress.num_in_turn + cost * n,
            num_resets=progress.num_resets + done.num_resets,
            num_limited=progress.num_limited + done.num_limited,
        )
        return both, judgement
    begin = no_snapshot(states)
    judgement = jax.eval_shape(judge, progress, begin)[0]
    judgement = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), judgement)
    judgement = judgement._replace(snapshot=begin)
    progress, judgement = jax.lax.while_loop(
        lambda carry: ~carry[1].settled, until_judged, (progress, judgement)
    )
    # A look has no derivatives. Counted in each iteration, this would be one more kernel on a GPU.
    num_in_turn = cost * progress.num_iterations - (cost - 1) * progress.num_looks
    return progress._replace(num_in_turn=num_in_turn), judgement
