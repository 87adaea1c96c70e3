"""What trembles by units in the last place, and may stand: on evidence, never by assumption.

A step is solved when x_t is f(x_{t-1}, u_t) to the last bit. Where a chain forgets slowly that
takes long: a difference of one unit in the last place (ulp) survives a step with a probability of
about |A_t|, so that the bits of thousands of steps settle one by one, or never, as each correction
rounds anew. A window may then stand as it is, once all of this has been seen of all of its steps:

- nine residuals in ten are within the `NOISE` of an evaluation, 64 grains of the spread and 4 ulp
  of the state, and all within 8 times that; a grain is an ulp, or 2^-42 in float64;
- they answer in proportion where they are looked at three times more, at states that are moved to
  the next point of a coarser grid, and to the next midpoints below and above: a comparison that
  is about to flip does so at one of them, and states that must be exact, such as counters, land
  on their very values, which are points of the grid;
- they have come down as far as they will, so that states are off by no more: see `falling`;
- then they are found to be off by at most 8 grains of the spread, half of the window or those that
  are not exact, and a few more: where few tremble these come to rest, or to flip, by themselves;
- most of the chain's own moves are `OWN_MOVES` times what trembles, in every coordinate that does;
- no coordinate trembles that is a count, on another grid that is coarser than rounding, or on a
  lattice: where moves are of few sizes their sums meet, or miss each other by rounding alone.

A decision that tips, or a residual that means something, starts the count of its step anew. A part
of a window never stands: the step behind it may hang on the last bit of its last state.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.constants import (
    FEW,
    LATTICE_PAIRS,
    LATTICE_ROWS,
    LATTICE_SHARE,
    NUM_LOOKS,
    OWN_MOVES,
    PROPORTION,
    SHORT,
)
from parallel_mcmc.rows import after
from parallel_mcmc.tolerance import noise


class Evidence(NamedTuple):
    """What has been seen of the steps of a window.

    Attributes:
        num_looks: how many have agreed, -1 where the residual is more than noise, ``(W,)``.
        looks: whether the next evaluation is at a state that was moved to be looked at, ``(W,)``.
        trembled: how often the step was found to tremble after the looks, ``(W,)``.
        moved: how far the last iteration moved each state, in units of its noise, ``(W,)``.
    """

    num_looks: Int[Array, " W"]
    looks: Bool[Array, " W"]
    trembled: Int[Array, " W"]
    moved: Float[Array, " W"]


def no_evidence(x: Float[Array, "W D"]) -> Evidence:
    none = jnp.zeros(len(x), jnp.int32)
    return Evidence(none - 1, none > 0, none, jnp.full(len(x), jnp.inf, x.dtype))


def watched(evidence: Evidence, size: Float[Array, " W"], few: Bool[Array, " W"]) -> Evidence:
    """With what another evaluation shows.

    Args:
        evidence: so far.
        size: of the residuals, in units of the noise.
        few: whether they are not zero, and a few ulp.
    """
    num_looks, looks, trembled, moved = evidence
    begun = looks | (num_looks > 0)
    goes_on = begun & (moved <= 4 * PROPORTION)
    agrees = size <= jnp.where(begun, PROPORTION, 1)
    # A state is looked at for the next step, which may have tipped at it.
    goes_on = goes_on & (after(size) <= OWN_MOVES)
    trembles = (num_looks == NUM_LOOKS) & few
    return Evidence(
        num_looks=jnp.where(agrees, jnp.where(goes_on, num_looks + looks, 0), -1),
        looks=jnp.zeros_like(looks),
        trembled=jnp.where(agrees & goes_on, trembled + trembles, 0),
        moved=moved,
    )


class Counted(NamedTuple):
    """Numbers per step, ``(W,)``, or their sums over all of them.

    Attributes:
        inexact: whether the step is wanted and not exact.
        not_ready: whether it then lacks looks.
        large: whether it is wanted, and off by more than the noise.
        found: how often it was found to tremble.
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
    """What `all_tremble` needs the sums of.

    Args:
        evidence: with the present evaluation.
        size: of the residuals, in units of the noise.
        wanted: steps that have to be solved.
    """
    inexact = wanted & (size > 0)
    return Counted(
        inexact=inexact,
        not_ready=inexact & (evidence.num_looks < NUM_LOOKS),
        large=wanted & (size > 1),
        found=jnp.where(inexact, evidence.trembled, 0),
    )


def all_tremble(sums: Counted, num_wanted: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether what is not exact was seen to tremble, so that it is worth to look at the chain."""
    enough = jnp.minimum(num_wanted, 2 * sums.inexact) + SHORT
    few_large = 10 * sums.large <= num_wanted
    return (sums.not_ready == 0) & few_large & (2 * sums.found >= enough)


def may_tremble(
    evidence: Evidence,
    wanted: Bool[Array, " W"],
    x: Float[Array, "W D"],
    r: Float[Array, "W D"],
    own: Float[Array, "W D"],
    noise: Float[Array, "W D"],
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether what trembles may stand, and whether it may not as it is where states must be exact.

    It may if it is small beside the chain's moves, and in no state that must be exact.

    Args:
        evidence: with the present evaluation.
        wanted: steps that have to be solved.
        x: the states.
        r: the residuals.
        own: the chain's own moves x_t - x_{t-1}.
        noise: of each step, see `tolerance`.
    """
    width = jnp.maximum(jnp.abs(r), evidence.moved[:, None] * noise)
    width = jnp.max(jnp.where(wanted[:, None], width, 0), axis=0)
    own = jnp.where(wanted[:, None], own, 0)
    large = more_than(2, jnp.abs(own) > OWN_MOVES * width, own != 0)
    exact = jnp.all((r == 0) | ~wanted[:, None], axis=0)
    # Of the values, as an iterate may be between the points where they are.
    exactly = on_grid(x + r, wanted) | on_lattice(own, noise)
    return jnp.all(exact | (large & ~exactly)), jnp.any(~exact & exactly)


def on_grid(x: Float[Array, "W D"], wanted: Bool[Array, " W"]) -> Bool[Array, " D"]:
    """Whether the states are whole numbers, or all lack the last bits of the largest."""
    x = jnp.where(wanted[:, None], x, 0)
    unit = jnp.minimum(power_of_two(4 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)), 1)
    return jnp.all(x == to_grid(x, unit, 0), axis=0)


def on_lattice(own: Float[Array, "W D"], noise: Float[Array, "W D"]) -> Bool[Array, " D"]:
    """Whether one pair in a hundred of moves, of a sample, is of equal size up to noise.

    Any two moves, as a chain may move in some of its steps alone, or by sizes that take turns.
    """
    W, D = own.shape
    num_rows = min(W, LATTICE_ROWS, math.isqrt(LATTICE_PAIRS // D) + 1)
    row = np.random.default_rng(0).choice(W, num_rows, replace=False)
    size, noise = jnp.abs(own[row]), noise[row]
    moves = size > noise
    pairs = moves[:, None] & moves & ~np.eye(len(row), dtype=bool)[:, :, None]
    equal = jnp.abs(size[:, None] - size) <= noise
    return more_than(LATTICE_SHARE, pairs & equal, pairs)


def more_than(
    n: int, these: Bool[Array, "*rows D"], those: Bool[Array, "*rows D"]
) -> Bool[Array, " D"]:
    """Whether n times ``these`` are more than ``those``, as one sum."""
    return jnp.sum(n * these.astype(jnp.int32) - those, axis=tuple(range(these.ndim - 1))) > 0


def looked_at(
    evidence: Evidence, rows: Bool[Array, " W"], x: Float[Array, "W D"], scale: Float[Array, " D"]
) -> tuple[Evidence, Float[Array, "W D"]]:
    """States to evaluate next, of which those that need another look of the ``rows`` are moved."""
    num_looks = evidence.num_looks
    looks = rows & (num_looks >= 0) & (num_looks < NUM_LOOKS)
    unit = power_of_two(2 * noise(x, scale, FEW))
    moved = to_grid(x, unit, num_looks[:, None])
    return evidence._replace(looks=looks), jnp.where(looks[:, None] & (scale > 0), moved, x)


def to_grid(x: Float[Array, "W D"], unit: Float[Array, "..."], side: Any) -> Float[Array, "W D"]:
    """The nearest multiple of ``unit``, 0, or the next midpoint between two below, 1, or above."""
    unit = jnp.where(unit > 0, unit, 1)
    x = x / unit
    half = jnp.where(side == 1, jnp.floor(x - 0.5), jnp.ceil(x - 0.5)) + 0.5
    return jnp.where(side == 0, jnp.round(x), half) * unit


def power_of_two(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """The largest one that is not more than a."""
    return jnp.where(a > 0, jnp.ldexp(jnp.ones_like(a), jnp.frexp(a)[1] - 1), 0)


def in_units(r: Float[Array, "W D"], unit: Any) -> Float[Array, "W D"]:
    """|r| / unit, which is 0 for 0 alone, whatever the unit, and NaN within none."""
    ratio = jnp.maximum(jnp.abs(r) / jnp.where(unit > 0, unit, 1), jnp.finfo(r.dtype).tiny)
    return jnp.where(r == 0, 0, jnp.where((unit > 0) & ~jnp.isnan(ratio), ratio, jnp.inf))
