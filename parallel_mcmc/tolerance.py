"""The units of a residual: the spread of the posterior, and rounding.

A step is solved when its residual is zero. Where ``tol`` asks for an early stop, that is made once
all steps of a window have

    |x_t - f(x_{t-1}, u_t)|  <=  tol * scale + 4 ulp(x_t)      in every coordinate

Neither the size of x nor the change between iterates says whether a state is
right. The scale is the spread of the chain itself. NaN is never within tolerance.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.quartiles import quartiles


def spread(x: Float[Array, "T D"]) -> Float[Array, " D"]:
    """Standard deviation per coordinate, from the quartiles of 256 to 511 evenly spaced rows.

    Quartiles, so that a few states far out do not count. The distance from the median, root mean
    square, where more than half of the rows are equal; 0, which allows nothing, where that is not
    finite.
    """
    sample = x[:: max(1, x.shape[0] // 256)]
    lower, middle, upper = quartiles(sample)
    width = (upper - lower) / 1.349
    width = jnp.where(width == 0, jnp.sqrt(jnp.mean((sample - middle) ** 2, axis=0)), width)
    return jnp.where(jnp.isfinite(width), width, 0)


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


def num_leading(true: Bool[Array, "T *n"]) -> Int[Array, "*n"]:
    """How many are true before the first that is not."""
    T = len(true)
    step = jnp.arange(T, dtype=jnp.int32).reshape(T, *[1] * (true.ndim - 1))
    return jnp.min(jnp.where(true, T, step), axis=0)


def scaled(r: Float[Array, "T D"], scale: Float[Array, " D"]) -> Float[Array, "T D"]:
    """The residual in units of ``scale``, or as it is where that is zero; inf for NaN."""
    r = jnp.abs(r) / jnp.where(scale > 0, scale, 1)
    return jnp.where(jnp.isnan(r), jnp.inf, r)
