"""What the draws of many helpers say together: a covariance, and whether they agree."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def pooled(
    draws: Float[Array, "N K D"], recent: Bool[Array, "N K"], is_diagonal: bool, num_draws: Any
) -> Array:
    """Covariance of the recent draws of all helpers, mixed with its own diagonal; or that alone.

    The share of the diagonal is that of the unknowns in unknowns and draws, squared: small enough
    for correlations of .9999 between a few unknowns, and large enough for a covariance of full
    rank from as many draws as there are unknowns.

    Args:
        draws, recent: as in `rhat_of`.
        is_diagonal: whether only variances are wanted, ``(D,)``.
        num_draws: how many of them are as good as independent.
    """
    weight, D = recent.astype(draws.dtype), draws.shape[-1]
    num = jnp.sum(weight)
    mean = jnp.einsum("nk,nkd->d", weight, draws) / num
    off = jnp.where(recent[..., None], draws - mean, 0)
    variances = jnp.sum(off**2, axis=(0, 1)) / num
    if is_diagonal:
        return variances
    covariance = jnp.einsum("nki,nkj->ij", off, off) / num
    share = (D / (D + num_draws)) ** 2
    return (1 - share) * covariance + share * jnp.diag(variances)


def variances_of(matrix: Array) -> Float[Array, " D"]:
    return matrix if matrix.ndim == 1 else jnp.diagonal(matrix)


def rhat_of(draws: Float[Array, "N K D"], recent: Bool[Array, "N K"]) -> Float[Array, " D"]:
    """How much farther apart the helpers are than the draws of one: 1 where they have forgotten.

    Args:
        draws: of each helper.
        recent: which of them count, all or none of a helper's first.
    """
    weight = recent.astype(draws.dtype)
    num = jnp.maximum(jnp.sum(weight, axis=0), 1)
    means = jnp.einsum("nk,nkd->kd", weight, draws) / num[:, None]
    within = jnp.einsum("nk,nkd->d", weight, (draws - means) ** 2) / jnp.sum(weight)
    good = recent[0].astype(draws.dtype)
    middle = jnp.einsum("k,kd->d", good, means) / jnp.sum(good)
    between = jnp.einsum("k,kd->d", good, (means - middle) ** 2) / (jnp.sum(good) - 1)
    return jnp.sqrt(1 + between / jnp.maximum(within, jnp.finfo(draws.dtype).tiny))
