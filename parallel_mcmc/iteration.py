"""The one loop: parallel Newton and quasi-Newton iterations on a window of the recursion.

With the current states x, all t of the window at once:

    f_t, A_t = linearize(f, x_{t-1}, u_t)
    r_t      = f_t - x_t                                    the residual
    d_t      = A_t d_{t-1} + r_t                            one linear recurrence
    x_t     <- f_t + A_t d_{t-1}

Corrections that are not small are limited: see `correction`. Where nearly all is solved and the
frontier stalls, some steps are made one by one: see `frontier`.

Solving for the correction d rather than for x itself has two effects. Rounding
in the scan is relative to d, which goes to zero. And where d_{t-1} is zero, x_t
becomes f_t to the last bit: the fixed point is the chain itself, not a neighbour of it.

By causality the leading states become exact one after the other, whatever A_t
is. The *frontier* is the number of leading steps that are solved, exactly or but for
what trembles by units in the last place: see `trembling`. They stay as they are. A window
that is shorter than the chain slides: what lies behind the frontier is
committed, the rest of the window is the guess for the next one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc.correction import correct, finite_rows, secant
from parallel_mcmc.frontier import make_steps, num_standing_still, num_steps_to_make
from parallel_mcmc.linear_maps import LinearMap
from parallel_mcmc.linearize import Recursion
from parallel_mcmc.outcome import Block, Limits, Outcome, Progress, outcome, state_before
from parallel_mcmc.solvers import Solver
from parallel_mcmc.stepwise import rows
from parallel_mcmc.time_blocks import map_steps
from parallel_mcmc.tolerance import aimed_at, noise, rounding
from parallel_mcmc.trembling import Evidence, in_units, looked_at, no_evidence


def iterate(
    f: Recursion,
    solver: Solver,
    block: Block,
    states: Float[Array, "L D"],
    frontier: Int[Array, ""],
    scale: Float[Array, " D"],
    limits: Limits,
    rng_key: Any,
    tell: Callable | None = None,
) -> tuple[Progress, Outcome]:
    """Iterate until the block is solved, the limit is reached or f itself is not finite.

    Args:
        f: the recursion.
        solver: linearisation and linear solve.
        block: the steps.
        states: first iterate, and behind ``frontier`` what is solved already.
        frontier: see `Progress`.
        scale: see `Progress`; zero where nothing is known.
        limits: tolerance and bounds.
        rng_key: for random probes.
        tell: called with the frontier after each evaluation.
    """
    slides = block.window < states.shape[0]
    offset_of = (lambda progress: progress.frontier) if slides else (lambda progress: 0)

    def evaluate(states, offset):
        x_prev = preceding(states, block.x_start, offset, block.window)
        u = rows(block.inputs, offset, block.window) if slides else block.inputs
        assert solver.linearize is not None  # `sequential()` does not come here
        return solver.linearize(f, x_prev, u, rng_key)

    def body(carry: tuple[Progress, Outcome]) -> tuple[Progress, Outcome]:
        # Of an evaluation in the carry, so that it is assessed once and in one place.
        progress, before = carry
        seen = outcome(progress, block, limits, offset_of(progress))
        gained = seen.lead - before.lead - progress.num_made + (before.k if slides else 0)
        return jax.lax.cond(seen.done, stay, advance, progress, seen, gained), seen

    def stay(progress: Progress, _: Outcome, gained: Int[Array, ""]) -> Progress:
        return progress

    def advance(progress: Progress, seen: Outcome, gained: Int[Array, ""]) -> Progress:
        offset = offset_of(progress)
        x = jax.lax.dynamic_slice_in_dim(progress.states, offset, block.window)
        slide = seen.k if slides else jnp.zeros_like(seen.k)
        row = jnp.arange(block.window)
        # What is right to rounding stays, too, until all is: where the maps are large, a chain of
        # corrections of a few ulp would keep the states behind it from coming down to noise.
        least = jnp.minimum(rounding(x), aimed_at(None, x.dtype) * seen.unit)
        still = ~seen.complete & (row > seen.k) & jnp.all(jnp.abs(seen.r) <= least, axis=-1)
        stands = row < seen.k
        safe = state_before(progress.states, block.x_start, offset + seen.lead)
        r = jnp.where((stands | still)[:, None], 0, seen.r)
        unit = jnp.where(seen.x.spread > 0, seen.x.spread, seen.f.spread)  # at first all x are x_0
        predicted, careful, num_limited = correct(
            solver, progress.A, progress.factor, progress.f_values, r, unit, seen.f, seen.k, safe
        )
        stands = stands | (still & jnp.all(jnp.abs(predicted) <= least, axis=-1))
        x_new = jnp.where(stands[:, None], x, progress.f_values + predicted)
        # The step at the frontier is f at a solved state, and so exact.
        looks = seen.complete & (row > seen.k)
        evidence, x_new = looked_at(seen.evidence, looks, x_new, seen.unit)
        num_steps = num_steps_to_make(seen.near, gained, seen.lead, block.num_steps - offset)
        # Under `vmap` chains that are done come here, too.
        num_steps = jnp.where(seen.done, 0, num_steps)
        x_new = make_steps(f, x_new, seen.lead, num_steps, block.inputs, offset)
        following = x_new[jnp.minimum(seen.lead + num_steps, block.window - 1)]
        stays = num_standing_still(progress.states, offset + seen.lead, safe, following)
        guessed = (row > seen.lead + num_steps) & (row <= seen.lead + stays)
        replaced = ~finite_rows(x_new) | guessed
        x_new = jnp.where(replaced[:, None], safe, x_new)
        num_resets = jnp.sum(replaced, dtype=jnp.int32)
        states = jax.lax.dynamic_update_slice_in_dim(progress.states, x_new, offset, 0)
        if slides and block.extend_guess:
            unseen = (jnp.arange(states.shape[0]) >= offset + block.window)[:, None]
            states = jnp.where(unseen, x_new[-1], states)

        f_values, A = evaluate(states, offset + slide)
        A, num_bad = finite_maps(A)
        before, careful = (shift(a, slide) if slides else a for a in (progress.f_values, careful))
        factor = progress.factor
        moved = jnp.max(in_units(x_new - x, noise(x, seen.unit)), axis=-1)
        evidence = evidence._replace(moved=moved)
        if slides:
            pairs = zip(evidence, no_evidence(x), strict=True)
            evidence = Evidence(*(shift(a, slide, behind) for a, behind in pairs))
        if not solver.unlimited:
            factor = map_steps(secant, f_values - before, careful)
        if tell is not None:
            tell(progress.frontier + seen.k)
        return Progress(
            states=states,
            frontier=progress.frontier + slide,
            f_values=f_values,
            A=A,
            factor=factor,
            scale=seen.scale,
            worst=jnp.where(slides, jnp.maximum(progress.worst, seen.worst), progress.worst),
            num_iterations=progress.num_iterations + 1,
            num_resets=progress.num_resets + num_resets + num_bad,
            num_limited=progress.num_limited + num_limited,
            num_frontier_steps=progress.num_frontier_steps + num_steps,
            num_made=num_steps,
            num_standing=jnp.zeros_like(slide) if slides else seen.k,
            num_trembling=progress.num_trembling + num_trembling(seen, slide),
            evidence=evidence,
        )

    x = jax.lax.dynamic_slice_in_dim(states, frontier if slides else 0, block.window)
    kind = jax.eval_shape(evaluate, states, frontier)[1]
    zero = jnp.zeros((), jnp.int32)
    progress = Progress(
        states=states,
        frontier=frontier,
        # A first "evaluation" by which nothing moves; the first iteration then evaluates f.
        f_values=x,
        A=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), kind),
        factor=jnp.ones_like(x[:, 0]),
        scale=scale,
        worst=jnp.zeros_like(scale),
        num_iterations=zero,
        num_resets=zero,
        num_limited=zero,
        num_frontier_steps=zero,
        num_made=zero,
        num_standing=zero,
        num_trembling=zero,
        evidence=no_evidence(x),
    )
    seen = jax.eval_shape(lambda progress: outcome(progress, block, limits, 0), progress)
    seen = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), seen)
    return jax.lax.while_loop(lambda carry: ~carry[1].done, body, (progress, seen))


def finite_maps(A: LinearMap) -> tuple[LinearMap, Int[Array, ""]]:
    """Zero for each map that is not finite, and how many there were."""
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(A):
        finite = finite & finite_rows(leaf)
    A = jax.tree.map(lambda leaf: jnp.where(expand(finite, leaf), leaf, 0), A)
    return A, jnp.sum(~finite, dtype=jnp.int32)


def expand(mask: Array, leaf: Array) -> Array:
    """With trailing axes, so that it broadcasts against the leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))


def preceding(
    states: Float[Array, "L D"], x_start: Float[Array, " D"], offset: Any, window: int
) -> Float[Array, "W D"]:
    """x_{t-1} for the steps of the window."""
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([x_start[None], states]), offset, window)


def shift(a: Float[Array, "W ..."], k: Int[Array, ""], behind: Any = None) -> Float[Array, "W ..."]:
    """Rows from k on, then those of ``behind``, zeros by default."""
    behind = jnp.zeros_like(a) if behind is None else behind
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([a, behind]), k, a.shape[0])


def num_trembling(seen: Outcome, num_steps: Int[Array, ""]) -> Int[Array, ""]:
    """Of the first steps of the window, those that are solved but for what trembles."""
    trembles = seen.within & jnp.any(seen.r != 0, axis=-1)
    return jnp.sum(trembles & (jnp.arange(len(trembles)) < num_steps), dtype=jnp.int32)
