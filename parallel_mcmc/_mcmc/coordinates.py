"""Positions as vectors, whitened by a metric.

With an inverse mass matrix C = L L' the coordinates w = L^-1 x of a posterior
with covariance C are close to independent and of unit scale. A kernel with the
metric C on x is the plain kernel on w, and there a diagonal stands for the
whole Jacobian. So the metric enters here, once, and kernels need none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float


class Coordinates(NamedTuple):
    """``ravel`` takes a position to w, shape ``(D,)``, and ``unravel`` back."""

    ravel: Callable[[Any], Float[Array, " D"]]
    unravel: Callable[[Float[Array, " D"]], Any]


def root(inverse_mass_matrix: Any) -> Array | None:
    """L of an inverse mass matrix L L': ``(D,)`` for variances, else lower triangular."""
    if inverse_mass_matrix is None:
        return None
    C = jnp.asarray(inverse_mass_matrix, float)
    return jnp.linalg.cholesky(C) if C.ndim == 2 and C.shape[0] == C.shape[1] else jnp.sqrt(C)


def coordinates(position: Any, L: Array | None = None) -> Coordinates:
    """The coordinates for positions like this one.

    Args:
        position: any pytree of floating-point arrays.
        L: from `root`, in the order of `jax.flatten_util.ravel_pytree`; None for the identity.
    """
    vector, unravel = ravel_pytree(position)

    def ravel(position):
        return ravel_pytree(position)[0]

    if L is None:
        return Coordinates(ravel, unravel)

    # Cast where it is used: kept beyond a trace, a cast in it would be a leak.
    dtype, D = vector.dtype, vector.size
    if L.shape == (D,):
        return Coordinates(
            lambda x: ravel(x) / L.astype(dtype), lambda w: unravel(w * L.astype(dtype))
        )
    if L.shape == (D, D):
        return Coordinates(
            lambda x: jax.scipy.linalg.solve_triangular(L.astype(dtype), ravel(x), lower=True),
            lambda w: unravel(jnp.dot(L.astype(dtype), w, precision="highest")),
        )
    raise ValueError(
        f"inverse_mass_matrix must have shape ({D},) or ({D}, {D}) for a position of {D} numbers, "
        f"got {L.shape}."
    )
