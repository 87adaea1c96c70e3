"""The new states of a window after one iteration.

Most states become f_t + A_t d_{t-1}: see `correction`. Solved states stay, and states that are not
finite are replaced by the last correct state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.constants import STANDING
from parallel_mcmc._core.frontier import make_steps, num_standing_still, num_steps_to_make
from parallel_mcmc._core.linear_maps import LinearMap
from parallel_mcmc._core.outcome import Block, Details, Outcome, Progress
from parallel_mcmc._core.rows import all_of, either, finite_rows, most_of, state_before
from parallel_mcmc._core.solvers import Solver
from parallel_mcmc._core.tolerance import aimed_at, noise, rounding
from parallel_mcmc._core.trembling import Evidence, in_units


class Moves(NamedTuple):
    """The next states, and how they were obtained.

    Attributes:
        x: ``(W, D)``.
        careful: see `correction.Correction`.
        evidence, stood: as in `outcome.Progress`.
        num_made: steps made one by one.
        replaced: steps whose state or map was not finite, or whose state is guessed to stand
            still, ``(W,)``.
        limited: see `correction.Correction`.
    """

    x: Float[Array, "W D"]
    careful: Float[Array, "W D"] | None
    evidence: Evidence
    stood: Int[Array, ""]
    num_made: Int[Array, ""]
    replaced: Bool[Array, " W"]
    limited: Bool[Array, " W"]


def moves(
    f: Recursion,
    solver: Solver,
    block: Block,
    offset: Any,
    progress: Progress,
    seen: Outcome,
    details: Details,
) -> Moves:
    """The moves of one iteration; no state moves where the iterations stop.

    Args:
        f: the recursion.
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
    # Steps that are not finite are left to Jacobi.
    none = (row < seen.k) | still | seen.stops | ~finite_rows(details.r)
    r = jnp.where(none[:, None], 0, details.r)
    # Zeroed where maps are read, in the first pass of the recurrence.
    A, bad = finite_maps(progress.A)
    predicted, careful, limited = solver.correct(A, r, progress.factor, scale, seen.k)
    stands = (row < seen.k) | (still & all_of(jnp.abs(predicted) <= least)) | seen.stops
    x_new = jnp.where(stands[:, None], x, progress.f_values + predicted)

    def made(x):
        gained = seen.lead - progress.expected
        num_steps = num_steps_to_make(details.near, gained, seen.lead, block.num_steps - offset)
        # Under `vmap` this also runs for chains that have stopped.
        num_steps = jnp.where(seen.stops | ~begun, 0, num_steps)
        return make_steps(f, x, seen.lead, num_steps, block.inputs, offset), num_steps

    def none_made(x):
        return x, jnp.zeros((), jnp.int32)

    x_new, num_made = jax.lax.platform_dependent(x_new, cpu=made, default=none_made)
    safe = state_before(progress.states, block.x_start, offset + seen.lead)
    end = seen.lead + num_made
    following = across.row_of(x_new, jnp.minimum(end, across.whole(block.window) - 1))
    same = all_of(jnp.abs(following - safe) <= rounding(safe))
    stood = num_standing_still(progress.stood, same)
    stood = jnp.where(begun & ~seen.stops, stood, progress.stood)
    guessed = (row > end) & (row <= end + jnp.where(stood >= STANDING, stood, 0)) & ~seen.stops
    replaced = ~finite_rows(x_new) | guessed
    x_new = jnp.where(replaced[:, None], safe, x_new)
    replaced = replaced | bad
    moved = most_of(in_units(x_new - x, noise(x, scale)))
    complete = details.evidence.complete | details.complete
    evidence = details.evidence._replace(moved=moved, complete=complete)
    evidence = either(seen.stops, progress.evidence, evidence)
    return Moves(x_new, careful, evidence, stood, num_made, replaced, limited)


def finite_maps(A: LinearMap) -> tuple[LinearMap, Bool[Array, "*W"]]:
    """The maps, with those that are not finite set to zero, and a mask of these."""
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(A):
        finite = finite & finite_rows(leaf)
    return jax.tree.map(lambda leaf: jnp.where(expand(finite, leaf), leaf, 0), A), ~finite


def expand(mask: Array, leaf: Array) -> Array:
    """With trailing axes, so that it broadcasts against the leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
