"""The units of a residual: the spread of the posterior, and rounding.

A step is solved when its residual is zero, or, where ``tol`` asks for an early stop,

    |x_t - f(x_{t-1}, u_t)|  <=  tol * scale + 4 ulp(x_t)      in every coordinate

Neither the size of x nor the change between iterates says whether a state is
right. The scale is the spread of the chain itself, and only of states that can
be trusted. NaN is never within tolerance.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.quartiles import quartiles


class Region(NamedTuple):
    """Where most of the states are, per coordinate: their median, and their spread around it."""

    middle: Float[Array, " D"]
    spread: Float[Array, " D"]


def trusted_spread(
    x: Float[Array, "T D"],
    f_values: Float[Array, "T D"],
    x_start: Float[Array, " D"],
    known: Float[Array, " D"],
    one_step: Float[Array, " D"],
) -> Float[Array, " D"]:
    """The spread of states that are right, never of iterates that may be far out.

    A tolerance taken from the spread of all iterates would be generous just when they
    are poor. Trusted are: what is ``known`` from before; the leading states that agree
    with f to rounding; and, while every state is still x_0, ``one_step`` from there: the
    spread of f.
    """
    k = num_leading(jnp.all(jnp.abs(f_values - x) <= rounding(x), axis=-1))
    exact = spread(x[jnp.arange(256) * k // 256])
    one_step = jnp.where(jnp.all(x == x_start), one_step, 0)
    return jnp.maximum(known, jnp.maximum(exact, one_step))


def spread(x: Float[Array, "T D"]) -> Float[Array, " D"]:
    """Standard deviation per coordinate: see `region`."""
    return region(x).spread


def region(x: Float[Array, "T D"]) -> Region:
    """Median and standard deviation, from the quartiles of 256 to 511 evenly spaced rows.

    Quartiles, so that a few states far out do not count. The plain standard deviation where
    more than half of the rows are equal, and 0, which allows nothing, where it is not finite.
    """
    sample = x[:: max(1, x.shape[0] // 256)]
    lower, middle, upper = quartiles(sample)
    width = (upper - lower) / 1.349
    # Of differences, so that equal rows have none, whatever their size.
    width = jnp.where(width == 0, jnp.std(sample - sample[0], axis=0), width)
    return Region(middle, jnp.where(jnp.isfinite(width), width, 0))


NOISE = 64
"""Units in the last place of the spread that rounding within a step may make of its result."""


def noise(
    x: Float[Array, "... D"], scale: Float[Array, " D"], ulps: int = NOISE
) -> Float[Array, "... D"]:
    """So many ulp of the spread, and 4 of x: beyond `NOISE` it is more than rounding in a step."""
    return ulps * jnp.finfo(x.dtype).eps * scale + rounding(x)


def aimed_at(tol: Any, dtype: Any) -> Any:
    """The residual in units of the spread that a solve comes to: ``tol``, or the noise."""
    return NOISE * float(jnp.finfo(dtype).eps) if tol is None else tol


def rounding(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Four units in the last place of x."""
    return 4 * jnp.finfo(x.dtype).eps * jnp.abs(x)


def num_leading(true: Bool[Array, " T"]) -> Int[Array, ""]:
    """How many are true before the first that is not."""
    return jnp.where(jnp.all(true), true.size, jnp.argmin(true)).astype(jnp.int32)


def scaled(r: Float[Array, "T D"], scale: Float[Array, " D"]) -> Float[Array, "T D"]:
    """The residual in units of ``scale``, or as it is where that is zero; inf for NaN."""
    r = jnp.abs(r) / jnp.where(scale > 0, scale, 1)
    return jnp.where(jnp.isnan(r), jnp.inf, r)
