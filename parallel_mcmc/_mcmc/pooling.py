"""What the draws of many helpers say together: a metric, and whether they agree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MAX_DENSE = 64
"""Unknowns up to which the metric is a covariance; up to as many `auto` tries DEER."""

MAX_LOW_RANK = 512
"""Unknowns up to which it is of low rank and a multiple of the diagonal; variances alone above."""

Estimate = Callable[[Array, Array, Any, Any, Any], Array]
"""``(draws, recent, num_draws, before, is_known) -> inverse mass matrix``, such as `covariance`."""


def variances(
    draws: Float[Array, "N K D"], recent: Bool[Array, "N K"], *_: Any
) -> Float[Array, " D"]:
    """Variances of the recent draws of all helpers."""
    off, num = centred(draws, recent)
    return jnp.sum(off**2, axis=(0, 1)) / num


def covariance(
    draws: Float[Array, "N K D"],
    recent: Bool[Array, "N K"],
    num_draws: Any,
    before: Float[Array, "D D"] | None = None,
    is_known: Any = False,
) -> Float[Array, "D D"]:
    """Covariance of the recent draws of all helpers, mixed with its own diagonal or one before.

    The share of the other is (unknowns / (unknowns + draws))^2: small enough for correlations of
    .9999 between a few unknowns, and large enough for a covariance of full rank from as many draws
    as there are unknowns.

    Args:
        draws, recent: as in `rhat_of`.
        num_draws: how many draws are as good as independent.
        before: the metric so far.
        is_known: whether it is known to fit, so that it takes the place of the diagonal.
    """
    off, num = centred(draws, recent)
    matrix, D = jnp.einsum("nki,nkj->ij", off, off) / num, draws.shape[-1]
    share = (D / (D + num_draws)) ** 2
    diagonal = jnp.diag(jnp.diagonal(matrix))
    other = diagonal if before is None else jnp.where(is_known, before, diagonal)
    return (1 - share) * matrix + share * other


def low_rank(
    draws: Float[Array, "N K D"], recent: Bool[Array, "N K"], num_draws: Any, *_: Any
) -> Float[Array, "D D"]:
    """The part of a covariance that stands out of the noise of so few draws.

    In the correlation matrix of n draws of D unknowns, noise alone spreads eigenvalues from
    (1 - sqrt(D/n))^2 to (1 + sqrt(D/n))^2 times what they are. Eigenvalues above that are kept,
    less what noise has added to them; all others are set to their mean. This is the spiked model of
    a covariance (Donoho, Gavish and Johnstone 2018). In the plain covariance, noise makes a
    condition number that short steps must pay for.

    Args:
        draws, recent, num_draws: as in `covariance`.
    """
    off, num = centred(draws, recent)
    D = draws.shape[-1]
    scale = jnp.sqrt(jnp.sum(off**2, axis=(0, 1)) / num)
    scaled = off / jnp.where(scale > 0, scale, 1)
    values, vectors = jnp.linalg.eigh(jnp.einsum("nki,nkj->ij", scaled, scaled) / num)
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = D / num_draws
    # The mean of those behind each, as the sum of all is D.
    behind = (D - jnp.cumsum(values)) / jnp.maximum(D - 1 - jnp.arange(D), 1)
    behind = jnp.maximum(behind, jnp.finfo(draws.dtype).eps)
    # With fewer draws than unknowns the mean behind goes to zero, and all would stand out.
    few = jnp.arange(D) < num_draws / 4
    spikes = jnp.cumprod(few & (values > (1 + jnp.sqrt(noise)) ** 2 * behind)) == 1
    num_spikes = jnp.sum(spikes)
    rest = jnp.where(num_spikes > 0, behind[jnp.maximum(num_spikes - 1, 0)], 1)
    b = values / rest + 1 - noise
    without_noise = rest * (b + jnp.sqrt(jnp.maximum(b**2 - 4 * values / rest, 0))) / 2
    matrix = (vectors * jnp.where(spikes, without_noise, rest)) @ vectors.T
    return scale[:, None] * matrix * scale


def estimate_of(num_unknowns: int, is_diagonal: bool | None) -> Estimate:
    """The metric that helpers look for; by the number of unknowns if ``is_diagonal`` is None."""
    if is_diagonal is not None:
        return variances if is_diagonal else covariance
    if num_unknowns <= MAX_DENSE:
        return covariance
    return low_rank if num_unknowns <= MAX_LOW_RANK else variances


def centred(
    draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]
) -> tuple[Float[Array, "N K D"], Int[Array, ""]]:
    """Recent draws less their mean, with zero for the others, and the number of recent ones."""
    draws, num = jnp.where(recent[..., None], draws, 0), jnp.sum(recent)
    return jnp.where(recent[..., None], draws - jnp.sum(draws, axis=(0, 1)) / num, 0), num


def variances_of(matrix: Array) -> Float[Array, " D"]:
    return matrix if matrix.ndim == 1 else jnp.diagonal(matrix)


def rhat_of(draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]) -> Float[Array, " D"]:
    """How much farther apart the helpers are than the draws of one: 1 where they have forgotten.

    Args:
        draws: of each helper.
        recent: which of them count, all or none of a helper's first.
    """
    means, within = of_each(draws, recent)
    good = recent[0].astype(draws.dtype)
    middle = jnp.einsum("k,kd->d", good, means) / jnp.sum(good)
    between = jnp.einsum("k,kd->d", good, (means - middle) ** 2) / (jnp.sum(good) - 1)
    return jnp.sqrt(1 + between / jnp.maximum(within, jnp.finfo(draws.dtype).tiny))


def of_each(
    draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]
) -> tuple[Float[Array, "K D"], Float[Array, " D"]]:
    """The mean of each helper's recent draws, and the variance around it over all helpers."""
    weight = recent.astype(draws.dtype)
    num = jnp.maximum(jnp.sum(weight, axis=0), 1)
    means = jnp.einsum("nk,nkd->kd", weight, draws) / num[:, None]
    return means, jnp.einsum("nk,nkd->d", weight, (draws - means) ** 2) / jnp.sum(weight)


def gap_of(draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]) -> Float[Array, " D"]:
    """The widest gap between the means of helpers, in standard deviations of one helper's draws.

    Helpers that mix slowly are everywhere; with several modes, none is between the modes.

    Args:
        draws, recent: as in `rhat_of`.
    """
    means, within = of_each(draws, recent)
    gaps = jnp.diff(jnp.sort(jnp.where(recent[0][:, None], means, jnp.inf), axis=0), axis=0)
    gaps = jnp.where(jnp.isfinite(gaps), gaps, 0)
    return jnp.max(gaps, axis=0) / jnp.sqrt(jnp.maximum(within, jnp.finfo(draws.dtype).tiny))


class Moments(NamedTuple):
    """Mean and standard deviation of the recent draws of all helpers."""

    mean: Float[Array, " D"]
    sd: Float[Array, " D"]


def moments_of(draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]) -> Moments:
    total = jnp.sum(jnp.where(recent[..., None], draws, 0), axis=(0, 1))
    return Moments(total / jnp.sum(recent), jnp.sqrt(variances(draws, recent)))


def drift(before: Moments, after: Moments, num_helpers: Any) -> Float[Array, ""]:
    """How far two rounds differ, in units of the largest difference that chance would make.

    By chance a mean of K helpers moves by sqrt(2 / K) standard deviations, and the logarithm of a
    standard deviation by sqrt(1 / K), at the most: draws of one helper in a round count as one. The
    largest of n normal numbers is about sqrt(2 log 2n); here n is two for each unknown.
    """
    moved = jnp.abs(after.mean - before.mean) / jnp.sqrt((before.sd**2 + after.sd**2) / num_helpers)
    widened = jnp.abs(jnp.log(after.sd / before.sd)) * jnp.sqrt(num_helpers)
    largest = jnp.max(jnp.maximum(moved, widened))
    return largest / jnp.sqrt(2 * jnp.log(4.0 * after.mean.size))
