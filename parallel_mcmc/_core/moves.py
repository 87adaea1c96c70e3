"""The new states of a window after one iteration.

Most states become f_t + A_t d_{t-1}: see `correction`. Solved states stay, and states that are not
finite are replaced by the last correct state.

States that tremble are held while a step after them is not yet right up to noise. Otherwise a
stretch that expands would turn their small moves into flipped accept decisions, anew in each
iteration, until the frontier has passed it. They are held from when all have fallen, until twice as
many iterations as that took: a stretch in which every bit counts flips again once they are free,
and is left to the frontier.

By Jacobi, a state at rest waits for one iteration where it and the state before it are about to
move far. Otherwise a state that is far off would move the right one after it, which would move the
next, for as long as two chains take to meet.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import FAR, HELD_LONGER, STANDING
from parallel_mcmc._core.linear_maps import LinearMap, Zero
from parallel_mcmc._core.outcome import Block, Details, Outcome, Progress
from parallel_mcmc._core.rows import (
    all_of,
    before_here,
    either,
    finite_rows,
    most_of,
    state_before,
)
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.tolerance import aimed_at, noise, rounding
from parallel_mcmc._core.trembling import Evidence, in_units


class Moves(NamedTuple):
    """The next states, and how they were obtained.

    Attributes:
        x: ``(W, D)``.
        careful: see `correction.Correction`.
        evidence, stood, rests: as in `outcome.Progress`.
        replaced: steps whose state or map was not finite, or whose state is guessed to stand
            still, ``(W,)``.
        limited: see `correction.Correction`.
        holds: whether states were held.
    """

    x: Float[Array, "W D"]
    careful: Float[Array, "W D"] | None
    evidence: Evidence
    stood: Int[Array, ""]
    rests: Bool[Array, " W"]
    replaced: Bool[Array, " W"]
    limited: Bool[Array, " W"]
    holds: Bool[Array, ""]


def moves(
    solver: Solver,
    block: Block,
    offset: Any,
    progress: Progress,
    seen: Outcome,
    details: Details,
) -> Moves:
    """The moves of one iteration; no state moves where the iterations stop.

    Args:
        solver: provides the correction.
        block, offset: the steps, and where the window begins.
        progress, seen, details: the last evaluation, and what it shows.
    """
    x, scale, row = details.x, seen.scale, across.numbers(block.window)
    begun = progress.num_iterations > 0
    behind = (row > seen.k) & ~seen.stops
    # States that are right to rounding also stay until all steps are: where maps are large, a chain
    # of corrections of a few ulp would keep later states from coming down to noise.
    least = jnp.minimum(rounding(x), aimed_at(None, x.dtype) * scale)
    still = behind & ~details.complete & all_of(jnp.abs(details.r) <= least)
    # In a window that slides, the frontier has to pass every step anyway.
    may_hold = block.extend_guess and block.window == len(progress.states)
    num_left = jnp.minimum(block.num_steps - offset, across.whole(block.window))
    # After Jacobi half of the steps are near at once, and Newton's method needs time for the rest.
    last = 3 * seen.near_since + jnp.minimum(block.num_before, HELD_LONGER)
    holds = progress.has_fallen & (progress.num_iterations <= last) & ~seen.stops
    holds &= may_hold & (seen.lead < num_left) & (seen.lead > seen.k + 1)
    first = jnp.where(holds, seen.lead, seen.k)
    held = behind & (row < first)
    waits = jnp.zeros_like(held)
    if isinstance(progress.A, Zero):
        # The first row of a device does not wait, which saves a message.
        far = ~all_of(jnp.abs(details.r) <= FAR * scale)
        waits = behind & progress.rests & far & before_here(far, False)
    rests = ~details.large & (progress.num_iterations > 1)
    held |= waits
    # Steps that are not finite are left to Jacobi.
    none = (row < seen.k) | still | held | seen.stops | ~finite_rows(details.r)
    r = jnp.where(none[:, None], 0, details.r)
    # Zeroed where maps are read, in the first pass of the recurrence.
    A, bad = finite_maps(progress.A)
    predicted, careful, limited = solver.correct(A, r, progress.factor, scale, first)
    still &= all_of(jnp.abs(predicted) <= least)
    stands = (row < seen.k) | still | held | seen.stops
    x_new = jnp.where(stands[:, None], x, progress.f_values + predicted)
    safe = state_before(progress.states, block.x_start, offset + seen.lead)
    following = across.row_of(x_new, jnp.minimum(seen.lead, across.whole(block.window) - 1))
    same = all_of(jnp.abs(following - safe) <= rounding(safe))
    stood = num_standing_still(progress.stood, same)
    stood = jnp.where(begun & ~seen.stops, stood, progress.stood)
    guess = jnp.where(stood >= STANDING, stood, 0)
    guessed = (row > seen.lead) & (row <= seen.lead + guess) & ~seen.stops
    replaced = ~finite_rows(x_new) | guessed
    x_new = jnp.where(replaced[:, None], safe, x_new)
    replaced = replaced | bad
    moved = most_of(in_units(x_new - x, noise(x, scale)))
    complete = details.evidence.complete | details.complete
    evidence = details.evidence._replace(moved=moved, complete=complete)
    evidence = either(seen.stops, progress.evidence, evidence)
    return Moves(x_new, careful, evidence, stood, rests, replaced, limited, holds)


def num_standing_still(stood: Int[Array, ""], stands: Bool[Array, ""]) -> Int[Array, ""]:
    """For how many steps after the frontier the chain is guessed to stand still; used from 4 on.

    A chain that starts far out may reject hundreds of proposals before it moves. The iterates are
    elsewhere then, their maps say nothing about the start, and the frontier would advance one step
    per iteration. The guess doubles in each iteration in which the step at the frontier ``stands``
    still, that is, ends where it began.
    """
    return jnp.where(stands, jnp.clip(2 * stood, 1, 2**30), 0)


def finite_maps(A: LinearMap) -> tuple[LinearMap, Bool[Array, "*W"]]:
    """The maps, with those that are not finite set to zero, and a mask of these."""
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(A):
        finite = finite & finite_rows(leaf)
    return jax.tree.map(lambda leaf: jnp.where(expand(finite, leaf), leaf, 0), A), ~finite


def expand(mask: Array, leaf: Array) -> Array:
    """With trailing axes, so that it broadcasts against the leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
