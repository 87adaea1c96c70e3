"""How far one iteration moves the states: A_t d_{t-1}, and what keeps it from harm.

    d_t = A_t d_{t-1} + r_t                                 Newton's correction
    x_t <- f_t + A_t d_{t-1}

Where d is not small the linearisation says little about f there, and a product of A_t
along an expanding stretch is astronomical. Where it is small everywhere it is taken as it
is, which for a single chain is half the work. Elsewhere there are four rules, each for what was
seen to go wrong:

- a step takes Newton's correction only where that is small, within the ``trust_radius``;
- elsewhere the maps are limited in norm, or the size of the correction is penalised
  (Levenberg-Marquardt, arXiv:2407.19115),
- and scaled by how far their last prediction came true, `secant`;
- no correction takes a state out of the region of the chain, the ``reach``.

None of them touches the fixed point: where d_{t-1} is zero, what is added to f_t is zero too.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.linear_maps import LinearMap
from parallel_mcmc.solvers import Solver
from parallel_mcmc.tolerance import Region, region


class Correction(NamedTuple):
    """What one iteration adds to f_t.

    Attributes:
        predicted: by how much f_t moves, ``(T, D)``.
        careful: the limited or penalised prediction before it is scaled: see `secant`.
        num_limited: maps that were limited, or corrections penalised.
    """

    predicted: Float[Array, "T D"]
    careful: Float[Array, "T D"]
    num_limited: Int[Array, ""]


def correct(
    solver: Solver,
    A: LinearMap,
    factor: Float[Array, " T"],
    f_values: Float[Array, "T D"],
    r: Float[Array, "T D"],
    unit: Float[Array, " D"],
    of_f: Region,
    k: Int[Array, ""],
    last: Float[Array, " D"],
) -> Correction:
    """A_t d_{t-1}, by which f_t moves to first order, under the rules above.

    Args:
        solver: which maps, which linear solve, which limits.
        A, f_values, r: the last evaluation and its residuals.
        factor: from `secant`.
        unit: spread of the chain per coordinate.
        of_f: the region of ``f_values``.
        k: leading steps that are solved.
        last: the state after them.
    """
    r = jnp.where(finite_rows(r)[:, None], r, 0)
    d = previous(solver.solve_linear(A, r))
    newton = A.apply(d)
    if solver.unlimited:
        return Correction(newton, newton, jnp.zeros((), jnp.int32))

    radius = solver.trust_radius * unit
    trusted = within(radius, d, newton)
    unit_or_one = jnp.where(unit > 0, unit, 1)

    def as_it_is():
        return Correction(newton, newton, jnp.zeros((), jnp.int32))

    def penalised_elsewhere():
        assert solver.solve_penalised is not None
        careful = A.apply(previous(penalised(solver.solve_penalised, A, r, unit_or_one, k)))
        predicted = jnp.where(trusted[:, None], newton, factor[:, None] * careful)
        return Correction(predicted, careful, jnp.sum(~trusted, dtype=jnp.int32))

    def limited_elsewhere():
        limit = A.limit(solver.max_norm, unit_or_one)
        scale = jnp.where(trusted[:, None], 1, factor[:, None] * limit.factor)
        d = previous(solver.solve_linear(A.scale_rows(scale), r))
        full = A.apply(d)
        careful, predicted = limit.factor * full, scale * full
        lost = trusted & ~within(radius, d, predicted)
        predicted = jnp.where(lost[:, None], factor[:, None] * careful, predicted)
        num_limited = jnp.sum(limit.limited & (~trusted | lost), dtype=jnp.int32)
        return Correction(predicted, careful, num_limited)

    elsewhere = limited_elsewhere if solver.solve_penalised is None else penalised_elsewhere
    found = jax.lax.cond(jnp.all(trusted), as_it_is, elsewhere)
    inside = within_reach(solver.reach, f_values + found.predicted, of_f, unit, last)
    return found._replace(predicted=jnp.where(inside[:, None], found.predicted, 0))


def within(
    radius: Float[Array, " D"], d: Float[Array, "T D"], image: Float[Array, "T D"]
) -> Bool[Array, " T"]:
    """Where both d_{t-1} and A_t d_{t-1} are small in every coordinate."""
    return jnp.all((jnp.abs(d) <= radius) & (jnp.abs(image) <= radius), axis=-1)


def within_reach(
    reach: float,
    x: Float[Array, "T D"],
    of_f: Region,
    unit: Float[Array, " D"],
    last: Float[Array, " D"],
) -> Bool[Array, " T"]:
    """Which states are in the region of the chain.

    Far out every proposal is rejected: a state that is thrown there is a fixed point of
    f, and wanders through the chain one step per iteration without end. The region is that
    of most states before and after the correction, as a chain may start far from where it goes,
    and reaches to the ``last`` state that is known to be right, which heavy tails take far out.
    """
    of_x = region(x)
    width = reach * jnp.maximum(unit, jnp.maximum(of_f.spread, of_x.spread))
    low, high = (pick(pick(of_f.middle, of_x.middle), last) for pick in (jnp.minimum, jnp.maximum))
    return jnp.all((x >= low - width) & (x <= high + width), axis=-1)


def penalised(
    solve: Callable,
    A: LinearMap,
    r: Float[Array, "T D"],
    unit: Float[Array, " D"],
    k: Int[Array, ""],
) -> Float[Array, "T D"]:
    """The penalised correction, in units of the spread; zero at the first ``k`` steps.

    Least squares would move solved states for the sake of later residuals, and causality
    would be lost. Without residuals of their own, and without the map that ties the
    next step to the last of them, they fall out of the sum: their best d is 0. What
    follows loses nothing, as that map would multiply a zero. So when x_1..x_k are exact
    x_{k+1} becomes f(x_k), to the last bit, at the next iteration.
    """
    step = jnp.arange(r.shape[0])
    A = A.in_units(unit).scale_rows((step > k).astype(r.dtype)[:, None])
    return unit * solve(A, jnp.where((step < k)[:, None], 0, r / unit))


def secant(change: Float[Array, "T D"], predicted: Float[Array, "T D"]) -> Float[Array, " T"]:
    """The factor in [0, 1] by which the last prediction of each f_t comes closest to what f_t did.

    Where the map bends within the last correction, or an accept decision tipped, its
    derivative says little about the next one: there the factor goes to 0, which is
    Jacobi. Where the iterates converge it goes to 1, which is Newton. It needs no
    evaluation of its own. Predictions at the level of rounding count as right.
    """
    dot = jnp.sum(change * predicted, axis=-1)
    square = jnp.sum(predicted**2, axis=-1)
    noise = (8 * jnp.finfo(change.dtype).eps) ** 2 * jnp.sum((change + predicted) ** 2, axis=-1)
    factor = jnp.clip(dot / jnp.where(square > noise, square, 1), 0, 1)
    return jnp.where((square > noise) & jnp.isfinite(dot), factor, 1)


def previous(d: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """d_{t-1}, with d_0 = 0."""
    return jnp.concatenate([jnp.zeros_like(d[:1]), d[:-1]])


def finite_rows(leaf: Float[Array, "T ..."]) -> Bool[Array, " T"]:
    return jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
