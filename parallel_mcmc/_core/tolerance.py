"""The units of a residual: the spread of the posterior, and rounding.

A step is solved when its residual is zero. With a ``tol``, a window stops early once all of its
steps have

    |x_t - f(x_{t-1}, u_t)|  <=  tol * scale + 4 ulp(x_t)      in every coordinate

Neither the size of x nor the change between iterates says whether a state is
right, so the scale is the spread of the chain itself. NaN is never within tolerance.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import ENLARGED, GRAIN, NOISE, PROPORTION, ROUNDING, SPREAD_ROWS
from parallel_mcmc._core.quartiles import quartiles


def spread(x: Float[Array, "T D"]) -> Float[Array, " D"]:
    """Standard deviation per coordinate, from the quartiles of 256 to 511 evenly spaced rows.

    Quartiles, so that outliers do not count. If they are equal, the root mean square distance from
    the median; 0, which allows no error, if the result is not finite.
    """
    T = across.whole(x.shape[0])
    every = max(1, T // SPREAD_ROWS)
    one_device = across.devices() is None
    sample = x[::every] if one_device else across.rows_at(x, np.arange(0, T, every))
    lower, middle, upper = quartiles(sample)
    width = (upper - lower) / 1.349
    width = jnp.where(width == 0, jnp.sqrt(jnp.mean((sample - middle) ** 2, axis=0)), width)
    return jnp.where(jnp.isfinite(width), width, 0)


def noise(
    x: Float[Array, "... D"], scale: Float[Array, " D"], num_grains: int | None = None
) -> Float[Array, "... D"]:
    """The size of rounding: `NOISE` grains of the spread, or ``num_grains``, and 4 ulp of x."""
    num_grains = NOISE if num_grains is None else num_grains
    return num_grains * grain(x.dtype) * scale + rounding(x)


def grain(dtype: Any) -> float:
    """The last bit that a step can be expected to get right: see `GRAIN`.

    >>> grain("float32") * 2**23, grain("float64") * 2**40
    (1.0, 1.0)
    """
    return max(float(jnp.finfo(dtype).eps), GRAIN)


def most_noise(dtype: Any, slides: bool) -> int:
    """How many times the noise a step may be off, once all steps have been within it.

    In single precision, and in a window that slides, in which larger residuals follow, no
    more than at a look.

    >>> most_noise("float64", slides=False), most_noise("float32", slides=False)
    (64, 8)
    """
    is_double = jnp.finfo(dtype).eps < GRAIN
    return ENLARGED if is_double and not slides else PROPORTION


def aimed_at(tol: Any, dtype: Any) -> Any:
    """The residual at which a solve ends, in units of the spread: ``tol``, or the noise."""
    return NOISE * grain(dtype) if tol is None else tol


def rounding(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Four units in the last place of x."""
    return ROUNDING * jnp.finfo(x.dtype).eps * jnp.abs(x)


def scaled(r: Float[Array, "T D"], scale: Float[Array, " D"]) -> Float[Array, "T D"]:
    """The residual in units of ``scale``, or as it is where that is zero; inf for NaN."""
    r = jnp.abs(r) / jnp.where(scale > 0, scale, 1)
    return jnp.where(jnp.isnan(r), jnp.inf, r)
