"""States that tremble by units in the last place, and when they are accepted: only on evidence.

A step is solved when x_t is f(x_{t-1}, u_t) to the last bit. On a chain that forgets slowly this
takes long: a difference of one unit in the last place (ulp) survives a step with a probability of
about |A_t|. So the bits of thousands of steps settle one by one, or never, as each correction
rounds anew. A window is then accepted once all of this holds:

- nine residuals in ten are within the `NOISE` of an evaluation, 64 grains of the spread and 4 ulp
  of the state, and all within 8 times that, or 64 times in float64 where the window does not slide,
  as a stretch that expands enlarges what its first state trembles by; a grain is an ulp, or 2^-40
  in float64;
- since then, steps were found off by at most 8 grains of the spread often enough: added up over
  iterations, `SHORT` / 2 times more than there are inexact steps, or half of all steps if that is
  less. If only a few tremble, they settle, or flip, before that. Once states have fallen, a step
  passes this count on to the next, with what it trembles by;
- residuals have fallen as far as they will, and so has the error of the states: see `falling`;
- most of the chain's own moves are `OWN_MOVES` times what trembles, in every coordinate that does;
- no coordinate trembles that is a count, or lies on another grid coarser than rounding or on a
  lattice: if moves have only a few sizes, their sums meet or miss each other by rounding alone;
- finally, f responds in proportion at copies of the states nearby, moved down and up by half the
  unit of a grid that is as coarse as they tremble, and to its nearest point. A comparison that is
  about to flip does so at one of them. An accept decision of a kernel may flip, and is reported.

Where states must be exact the iterations go on from the grid points, as counters land on their
exact values there.

If a decision flips, or a residual is more than noise, the count of that step restarts. A part of a
window is never accepted: the step after it may depend on the last bit of its last state.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import (
    FEW,
    LATTICE_PAIRS,
    LATTICE_ROWS,
    LATTICE_SHARE,
    OWN_MOVES,
    PROPORTION,
    SHORT,
)
from parallel_mcmc._core.rows import after, before
from parallel_mcmc._core.tolerance import noise


class Evidence(NamedTuple):
    """What has been observed of the steps of a window.

    Attributes:
        trembled: how often the step was found to tremble since all steps were right up to noise;
            -1 if its residual is more than noise, ``(W,)``.
        moved: how far the last iteration moved each state, in units of its noise, ``(W,)``.
        complete: whether all steps were right up to noise.
    """

    trembled: Int[Array, " W"]
    moved: Float[Array, " W"]
    complete: Bool[Array, ""]


def no_evidence(x: Float[Array, "W D"]) -> Evidence:
    none = jnp.zeros(len(x), jnp.int32)
    return Evidence(none - 1, jnp.full(len(x), jnp.inf, x.dtype), jnp.zeros((), bool))


def watched(
    evidence: Evidence,
    size: Float[Array, " W"],
    few: Bool[Array, " W"],
    most: int,
    fallen: Bool[Array, ""],
) -> Evidence:
    """The evidence, updated with another evaluation.

    Args:
        evidence: so far.
        size: of the residuals, in units of the noise.
        few: whether residuals are a few ulp, and not zero.
        most: of a size, once all steps have been right up to noise.
        fallen: see `outcome.Progress.has_fallen`. A step then passes its count on to the next, with
            what it trembles by, which may run along the chain.
    """
    trembled, moved, complete = evidence
    agrees = size <= jnp.where(complete & (trembled >= 0), most, 1)
    # The next step may have flipped at a state that moved.
    goes_on = complete & (moved <= 4 * PROPORTION) & (after(size) <= OWN_MOVES)
    so_far = jnp.maximum(trembled, 0)
    # After a state that has not moved there is nothing new to be found.
    passed = before(jnp.where(moved > 0, so_far + 1, 0), 0)
    once_more = jnp.where(fallen, jnp.maximum(so_far + 1, passed), so_far + 1)
    found = jnp.where(few & (passed > 0), once_more, so_far)
    found = jnp.where(goes_on, found, 0)
    return evidence._replace(trembled=jnp.where(agrees, found, -1))


class Counted(NamedTuple):
    """Numbers per step, ``(W,)``, or their sums over all of them.

    Attributes:
        inexact: whether the step has to be solved and is not exact.
        not_ready: whether it is inexact and not right up to noise.
        large: whether it has to be solved and is off by more than the noise.
        found: how often it was found to tremble, if it is inexact.
    """

    inexact: Int[Array, "*W"]
    not_ready: Int[Array, "*W"]
    large: Int[Array, "*W"]
    found: Int[Array, "*W"]


def counted(
    evidence: Evidence,
    size: Float[Array, " W"],
    wanted: Bool[Array, " W"],
) -> Counted:
    """The numbers whose sums `all_tremble` needs.

    Args:
        evidence: with the present evaluation.
        size: of the residuals, in units of the noise.
        wanted: steps that have to be solved.
    """
    inexact = wanted & (size > 0)
    return Counted(
        inexact=inexact,
        not_ready=inexact & (evidence.trembled < 0),
        large=wanted & (size > 1),
        found=jnp.where(inexact, jnp.maximum(evidence.trembled, 0), 0),
    )


def all_tremble(sums: Counted, num_wanted: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether all inexact steps were seen to tremble, so that a check is worthwhile."""
    enough = jnp.minimum(num_wanted, 2 * sums.inexact) + SHORT
    few_large = 10 * sums.large <= num_wanted
    return (sums.not_ready == 0) & few_large & (2 * sums.found >= enough)


class Trembling(NamedTuple):
    """For each coordinate, ``(D,)``.

    Attributes:
        at_all: whether any step trembles in it.
        exactly: whether one does although states must be exact in it.
        may_not: whether one does that must not, because states must be exact or it is off by too
            much.
    """

    at_all: Bool[Array, " D"]
    exactly: Bool[Array, " D"]
    may_not: Bool[Array, " D"]


def may_tremble(
    evidence: Evidence,
    wanted: Bool[Array, " W"],
    x: Float[Array, "W D"],
    r: Float[Array, "W D"],
    own: Float[Array, "W D"],
    noise: Float[Array, "W D"],
) -> Trembling:
    """Which coordinates tremble; they may, if the chain's own moves are much larger.

    Args:
        evidence: with the present evaluation.
        wanted: steps that have to be solved.
        x: the states.
        r: the residuals.
        own: the chain's own moves x_t - x_{t-1}.
        noise: of each step, see `tolerance`.
    """
    width = jnp.maximum(jnp.abs(r), evidence.moved[:, None] * noise)
    width = across.most(jnp.max(jnp.where(wanted[:, None], width, 0), axis=0))
    own = jnp.where(wanted[:, None], own, 0)
    large = across.total(excess(2, jnp.abs(own) > OWN_MOVES * width, own != 0)) > 0
    at_all = across.any_device(jnp.any((r != 0) & wanted[:, None], axis=0))
    # This uses the values of f, as an iterate may lie between points of the grid.
    exactly = at_all & (on_grid(x + r, wanted) | on_lattice(own, noise))
    return Trembling(at_all, exactly, at_all & (exactly | ~large))


def on_grid(x: Float[Array, "W D"], wanted: Bool[Array, " W"]) -> Bool[Array, " D"]:
    """Whether states are whole numbers, or multiples of a unit coarser than their rounding."""
    x = jnp.where(wanted[:, None], x, 0)
    largest = across.most(jnp.max(jnp.abs(x), axis=0))
    unit = jnp.minimum(power_of_two(4 * jnp.finfo(x.dtype).eps * largest), 1)
    return across.all_devices(jnp.all(x == to_grid(x, unit), axis=0))


def on_lattice(own: Float[Array, "W D"], noise: Float[Array, "W D"]) -> Bool[Array, " D"]:
    """Whether, in a sample, one pair of moves in a hundred has equal size up to noise.

    All pairs are compared, as a chain may move only in some steps, or by alternating sizes.
    """
    W, D = across.whole(own.shape[0]), own.shape[1]
    num_rows = min(W, LATTICE_ROWS, math.isqrt(LATTICE_PAIRS // D) + 1)
    row = np.random.default_rng(0).choice(W, num_rows, replace=False)
    size, noise = jnp.abs(across.rows_at(own, row)), across.rows_at(noise, row)
    moves = size > noise
    pairs = moves[:, None] & moves & ~np.eye(len(row), dtype=bool)[:, :, None]
    equal = jnp.abs(size[:, None] - size) <= noise
    return excess(LATTICE_SHARE, pairs & equal, pairs) > 0


def excess(
    n: int, these: Bool[Array, "*rows D"], those: Bool[Array, "*rows D"]
) -> Int[Array, " D"]:
    """By how much n times the number of ``these`` exceeds that of ``those``, as one sum."""
    return jnp.sum(n * these.astype(jnp.int32) - those, axis=tuple(range(these.ndim - 1)))


def looks(
    x: Float[Array, "W D"],
    scale: Float[Array, " D"],
    these: Bool[Array, "W D"],
    width: Float[Array, " W"],
) -> Float[Array, "3 W D"]:
    """Copies of the states at which to evaluate f, some moved by no more than rounding.

    That is ``width`` times a few grains, where a stretch that expands enlarges it.
    """
    unit = power_of_two(2 * noise(x, scale, FEW) * width[:, None])
    moved = jnp.stack([to_grid(x, unit), x - unit / 2, x + unit / 2])
    return jnp.where(these & (scale > 0), moved, x)


def to_grid(x: Float[Array, "W D"], unit: Float[Array, "..."]) -> Float[Array, "W D"]:
    """The nearest multiple of ``unit``."""
    unit = jnp.where(unit > 0, unit, 1)
    return jnp.round(x / unit) * unit


def power_of_two(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """The largest power of two that is not more than a."""
    return jnp.where(a > 0, jnp.ldexp(jnp.ones_like(a), jnp.frexp(a)[1] - 1), 0)


def in_units(r: Float[Array, "*T D"], unit: Any) -> Float[Array, "*T D"]:
    """|r| / unit: 0 only for r = 0, whatever the unit, and inf for NaN."""
    ratio = jnp.maximum(jnp.abs(r) / jnp.where(unit > 0, unit, 1), jnp.finfo(r.dtype).tiny)
    return jnp.where(r == 0, 0, jnp.where((unit > 0) & ~jnp.isnan(ratio), ratio, jnp.inf))
