"""The correction of one iteration: x_t <- f_t + A_t d_{t-1}, by one linear recurrence.

    d_t = s_t A_t d_{t-1} + r_t

Newton's correction has s_t = 1. It is used where the residuals are small. Elsewhere the
linearisation says little about f, a decision of the chain may flip, and products of A_t overflow
where the chain expands. So where |r_{t-1}| or |r_t| is more than the ``trust_radius``, A_t is
limited in norm and scaled by how well its last prediction held (see `secant`). The rule uses the
residuals because they are known; the correction would have to be solved for first.

The rule does not change the fixed point: where d_{t-1} is zero, nothing is added to f_t.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.linear_maps import LinearMap
from parallel_mcmc._core.rows import all_of, before, sum_of
from parallel_mcmc._core.scans import affine_scan


class Correction(NamedTuple):
    """The term that one iteration adds to f_t.

    Attributes:
        predicted: by how much f_t is predicted to move, ``(T, D)``.
        careful: the same before it is scaled by the factor. `secant` computes the next factor from
            it; None if there is no factor.
        limited: maps whose norm was limited, or corrections penalised, ``(T,)``.
    """

    predicted: Float[Array, "T D"]
    careful: Float[Array, "T D"] | None
    limited: Bool[Array, " T"]


Correct: TypeAlias = Callable[..., Correction]
"""``(A, r, factor, scale, k) -> Correction``: from maps and residuals, factors of `secant`, the
spread of the chain per coordinate, and the number of leading steps solved, whose r is zero."""


def newton(A: LinearMap, r: Float[Array, "T D"], factor, scale, k) -> Correction:
    """Newton's correction everywhere, without a limit."""
    scale = behind(r, k).astype(r.dtype)
    predicted = A.apply(before(affine_scan(A.scale_rows(scale), r)))
    return Correction(predicted, None, jnp.zeros(len(r), bool))


def limited(
    A: LinearMap,
    r: Float[Array, "T D"],
    factor: Float[Array, " T"],
    scale: Float[Array, " D"],
    k: Int[Array, ""],
    *,
    max_norm: float,
    trust_radius: float,
) -> Correction:
    """The rule above.

    Args:
        A, r, factor, scale, k: as for every `Correct`.
        max_norm: limit on the norm of a map, in coordinates scaled by their spread.
        trust_radius: up to where residuals count as small, in spreads.
    """
    small = all_of(jnp.abs(r) <= trust_radius * scale)
    small = (small & before(small, True))[:, None]
    limit = A.limit(max_norm, jnp.where(scale > 0, scale, 1))
    kept = jnp.where(small, 1, limit.factor)
    scale = jnp.where(behind(r, k), jnp.where(small, 1, factor[:, None]) * kept, 0)
    full = A.apply(before(affine_scan(A.scale_rows(scale), r)))
    return Correction(scale * full, kept * full, limit.limited & ~small[:, 0])


def behind(r: Float[Array, "T D"], k: Int[Array, ""]) -> Bool[Array, "T 1"]:
    """Steps whose map is needed; in a tree, products of the others may overflow."""
    return (across.numbers(len(r)) > k)[:, None]


def secant(change: Float[Array, "*T D"], predicted: Float[Array, "*T D"]) -> Float[Array, "*T"]:
    """The factor in [0, 1] that brings the last prediction of each f_t closest to its real change.

    Where the map bends within the last correction, or an accept decision flipped, the
    derivative says little about the next change: there the factor goes to 0, which is
    Jacobi. Where the iterates converge it goes to 1, which is Newton. The factor needs no
    evaluation of its own. A prediction of zero counts as right.
    """
    dot = sum_of(change * predicted)
    square = sum_of(predicted**2)
    factor = jnp.clip(dot / jnp.where(square > 0, square, 1), 0, 1)
    return jnp.where((square > 0) & jnp.isfinite(dot), factor, 1)
