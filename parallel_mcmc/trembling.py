"""What trembles by units in the last place, and may stand: on evidence, never by assumption.

A step is solved when x_t is f(x_{t-1}, u_t) to the last bit. Where a chain forgets slowly that
takes long: a difference of one unit in the last place (ulp) survives a step with a probability of
about |A_t|, so that the bits of thousands of steps settle one by one, or never, as each correction
rounds anew. A window may then stand as it is, once all of this has been seen of all of its steps:

- each residual is within the `NOISE` of an evaluation;
- they answer in proportion where they are looked at twice more, at states that are snapped to a
  coarser grid and to the midpoints of its cells: a comparison that is about to flip does so at
  one of them, and states that must be exact, such as counters, land on their very values,
  which are points of the grid;
- then they are found to be off by a few ulp, half of them once, or a twentieth of them ten times:
  where few tremble these come to rest, or to flip, by themselves;
- most of the chain's own moves are `OWN_MOVES` times what trembles, in every coordinate that does.

A decision that tips, or a residual that means something, starts the count of its step anew. Not a
part of a window, as the step behind it may hang on the last bit of the last state in it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.tolerance import NOISE

FEW = 8
"""Ulp of the spread up to which a residual trembles; more is still on its way."""

PROPORTION = 8
"""How many times its noise a step may be off once it is looked at, and one step in a hundred to the
end: as its map is steep. A decision that flips is off by the chain's own moves."""

LOOKED_AT = 4
"""What `Evidence.found` is after both looks."""

SHORT = 32
"""Steps at the end of a window that come out exact, one by one, before they may stand."""

OWN_MOVES = 1_000
"""How much larger the moves of a chain are than what trembles; otherwise they are the rounding."""


class Evidence(NamedTuple):
    """What has been seen of the steps of a window.

    Attributes:
        found: -1 where the residual is more than noise; 0 where it is noise; 1 and 3 where the next
            evaluation is at a state that is snapped to the grid, to a midpoint; 2 and 4 where that
            agreed; then one more for each time that the step was found to tremble, ``(W,)``.
        moved: how far the last iteration moved each state, in units of its noise, ``(W,)``.
    """

    found: Int[Array, " W"]
    moved: Float[Array, " W"]


def no_evidence(x: Float[Array, "W D"]) -> Evidence:
    return Evidence(jnp.full(len(x), -1, jnp.int32), jnp.full(len(x), jnp.inf, x.dtype))


def watched(evidence: Evidence, size: Float[Array, " W"]) -> Evidence:
    """With what another evaluation shows: residuals of this size, in units of the noise."""
    before = evidence.found
    rests = evidence.moved <= 4 * PROPORTION
    looks = (before == 1) | (before == 3)
    trembles = (before >= LOOKED_AT) & (size > 0) & (size <= FEW / NOISE)
    found = jnp.where((before > 0) & rests, before + (looks | trembles), 0)
    return evidence._replace(
        found=jnp.where(size <= jnp.where(before > 0, PROPORTION, 1), found, -1)
    )


def may_stand(
    evidence: Evidence,
    size: Float[Array, " W"],
    asked: Bool[Array, " W"],
    r: Float[Array, "W D"],
    own: Float[Array, "W D"],
    noise: Float[Array, "W D"],
) -> Bool[Array, ""]:
    """Whether steps are solved but for what trembles: all of those that are asked about.

    Args:
        evidence: with the present evaluation.
        size: of the residuals, in units of the noise.
        asked: steps from the first on that is not solved exactly, nor stands already.
        r: the residuals.
        own: the chain's own moves x_t - x_{t-1}.
        noise: of each step, see `tolerance`.
    """
    inexact = asked & jnp.any(r != 0, axis=-1)
    found = jnp.sum(evidence.found - LOOKED_AT, where=inexact)
    width = jnp.maximum(jnp.abs(r), evidence.moved[:, None] * noise)
    width = jnp.max(width, axis=0, where=asked[:, None], initial=0)
    large = 2 * jnp.sum(jnp.abs(own) > OWN_MOVES * width, axis=0) > jnp.sum(own != 0, axis=0)
    exact = jnp.all((r == 0) | ~asked[:, None], axis=0)
    ready = jnp.all((evidence.found >= LOOKED_AT) | ~inexact)
    ready = ready & (100 * jnp.sum(asked & (size > 1)) <= jnp.sum(asked))
    return ready & (2 * found >= jnp.sum(asked) + SHORT) & jnp.all(large | exact)


def looked_at(
    evidence: Evidence, rows: Bool[Array, " W"], x: Float[Array, "W D"], scale: Float[Array, " D"]
) -> tuple[Evidence, Float[Array, "W D"]]:
    """States to evaluate next: those of the ``rows`` that have not been looked at are snapped."""
    first, second = rows & (evidence.found == 0), rows & (evidence.found == 2)
    x = jnp.where(first[:, None], snapped(x, scale, 0.0), x)
    x = jnp.where(second[:, None], snapped(x, scale, 0.5), x)
    return evidence._replace(found=evidence.found + (first | second)), x


def snapped(
    x: Float[Array, "W D"], scale: Float[Array, " D"], offset: float
) -> Float[Array, "W D"]:
    """The nearest points of a grid of at most 16 ulp of the spread, which is a power of two."""
    unit = 2 * FEW * jnp.finfo(x.dtype).eps * scale
    unit = jnp.ldexp(jnp.ones_like(unit), jnp.frexp(unit)[1] - 1)
    return jnp.where(scale > 0, (jnp.round(x / unit - offset) + offset) * unit, x)


def in_units(r: Float[Array, "W D"], unit: Any) -> Float[Array, "W D"]:
    """|r| / unit, where 0 is within any unit, and NaN within none."""
    ratio = jnp.abs(r) / jnp.where(unit > 0, unit, 1)
    return jnp.where(r == 0, 0, jnp.where((unit > 0) & ~jnp.isnan(ratio), ratio, jnp.inf))
