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


def coordinates(position: Any, inverse_mass_matrix: Any = None) -> Coordinates:
    """The coordinates for positions like this one.

    Args:
        position: any pytree of floating-point arrays.
        inverse_mass_matrix: the posterior's covariance or an estimate: None for the
            identity, variances ``(D,)``, or a positive definite ``(D, D)``, in the order
            of `jax.flatten_util.ravel_pytree`.
    """
    vector, unravel = ravel_pytree(position)

    def ravel(position):
        return ravel_pytree(position)[0]

    if inverse_mass_matrix is None:
        return Coordinates(ravel, unravel)

    C = jnp.asarray(inverse_mass_matrix, vector.dtype)
    D = vector.size
    if C.shape == (D,):
        scale = jnp.sqrt(C)
        return Coordinates(lambda x: ravel(x) / scale, lambda w: unravel(w * scale))
    if C.shape == (D, D):
        L = jnp.linalg.cholesky(C)
        return Coordinates(
            lambda x: jax.scipy.linalg.solve_triangular(L, ravel(x), lower=True),
            lambda w: unravel(jnp.dot(L, w, precision="highest")),
        )
    raise ValueError(
        f"inverse_mass_matrix must have shape ({D},) or ({D}, {D}) for a position of {D} numbers, "
        f"got {C.shape}."
    )
