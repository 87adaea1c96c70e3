"""Whether trembling states are accepted, when the iterations have stopped for this check.

It needs statistics of the chain, which cost as much as an iteration without f, and, if these allow
it, f at states nearby. So it is not part of an iteration. See `trembling` and `falling`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import OWN_MOVES, PROPORTION
from parallel_mcmc._core.falling import Snapshot, another, come_down, slowness_of, typical
from parallel_mcmc._core.outcome import Block, Limits, Progress, outcome
from parallel_mcmc._core.rows import (
    all_of,
    before,
    either,
    most_of,
    state_before,
    window_of,
    with_window,
)
from parallel_mcmc._core.tolerance import most_noise, noise
from parallel_mcmc._core.trembling import in_units, looks, may_tremble


class Judgement(NamedTuple):
    """The result of the iterations on a window.

    Attributes:
        k, scale: as in `Outcome`.
        within: which steps are solved, given the state before them, ``(W,)``.
        num_trembling: steps that are accepted although they tremble.
        num_ties: decisions that are accepted although they flip as these states tremble.
        settled: whether there is nothing more to gain.
        looked: whether f was also evaluated at states nearby.
        must_be_exact: whether a state trembles that must be exact.
        snapshot: to compare the states with at the next check.
    """

    k: Int[Array, ""]
    scale: Float[Array, " D"]
    within: Bool[Array, " W"]
    num_trembling: Int[Array, ""]
    num_ties: Int[Array, ""]
    settled: Bool[Array, ""]
    looked: Bool[Array, ""]
    must_be_exact: Bool[Array, ""]
    snapshot: Snapshot


def judged(
    progress: Progress,
    snapshot: Snapshot,
    block: Block,
    limits: Limits,
    offset: Any,
    look: Callable,
) -> tuple[Judgement, Float[Array, "L D"], Float[Array, "W D"]]:
    """Judge the last evaluation: are its trembling states accepted?

    Also returns the states to go on from, and f there. Where states must be exact these come from
    the first look, because counters are on its grid.

    Args:
        progress, block, limits, offset: as for `outcome`.
        snapshot: from the last check.
        look: evaluates f, ``(num_looks, W, D)``, at the state before each step, given the state
            before the first step and ``num_looks`` windows of states.
    """
    seen, details = outcome(progress, block, limits, offset)
    x, r, wanted = details.x, details.r, details.wanted
    first = state_before(progress.states, block.x_start, jnp.asarray(offset))
    of_noise = noise(x, seen.scale)
    tremble = may_tremble(details.evidence, wanted, x, r, x - before(x, first), of_noise)
    must_be_exact = seen.asks & jnp.any(tremble.exactly)
    slides = block.window < len(progress.states)
    since = x - window_of(snapshot.states, offset, block.window)
    moved = typical(most_of(in_units(since, of_noise)), wanted, slides)
    left = typical(details.size, wanted, slides)
    n = progress.num_free
    # A block may be near from the start, because windows before it have reached into it.
    slowness = slowness_of(jnp.maximum(progress.num_iterations, block.num_before), x.dtype)
    known = slowness if block.extend_guess else None
    stand = seen.asks & ~jnp.any(tremble.may_not) & come_down(snapshot, left, moved, n, known)

    looked = stand | must_be_exact
    # Coordinates that do not tremble keep their values.
    columns = jnp.where(must_be_exact, tremble.exactly, tremble.at_all)
    rows = wanted & (across.numbers(block.window) >= seen.k)
    widest = most_noise(x.dtype, slides)
    width = jnp.clip(jnp.maximum(details.evidence.moved, details.size), 1, widest)
    width = jnp.where(must_be_exact, 1, width)
    copies = looks(x, seen.scale, rows[:, None] & columns, width)
    values = jax.lax.cond(looked, lambda: look(first, copies), lambda: copies)
    off = most_of(in_units(values - copies, noise(copies, seen.scale)))
    # In proportion to the move of the state before, or within what its own state trembles by.
    most = jnp.maximum(PROPORTION * before(width, 1), width)
    tips = (off > OWN_MOVES) & all_of(jnp.isfinite(values))
    num_ties = across.total(jnp.sum(jnp.any(tips & wanted, axis=0), dtype=jnp.int32))
    in_proportion = across.all_devices(jnp.all((off <= most) | tips | ~wanted))
    stand &= in_proportion & (num_ties <= limits.most_ties)
    goes_on = must_be_exact & ~progress.done
    x, f_values = either(goes_on, (copies[0], values[0]), (x, progress.f_values))
    states = with_window(progress.states, offset, x)
    new = another(snapshot, states, moved, n + looked, known)  # residuals do not fall at a look
    num_left = jnp.minimum(block.num_steps - offset, across.whole(block.window))
    # As found by the loop, which may round differently.
    all_stand = stand | progress.early
    judgement = Judgement(
        k=jnp.where(all_stand, jnp.maximum(seen.k, num_left), seen.k),
        scale=seen.scale,
        within=details.agrees | (wanted & all_stand),
        num_trembling=jnp.where(stand, seen.num_inexact, 0),
        num_ties=jnp.where(stand, num_ties, 0),
        settled=progress.done | stand,
        looked=looked,
        must_be_exact=must_be_exact,
        snapshot=either(n >= snapshot.ask_from, new, snapshot),
    )
    return judgement, states, f_values
