"""The coordinates whitened by the metric that NumPyro's warm-up has found.

NumPyro keeps factors of the inverse mass matrix C, S' S = C^-1 and R R' = C in its names
``mass_matrix_sqrt`` = S' and ``mass_matrix_sqrt_inv`` = R', one array for all unknowns or one
for each block of sites. In w = S z the mass matrix is the identity, and z = R w.
"""

from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float


def whiten(z: Any, adapt_state: Any) -> Float[Array, " D"]:
    """The unconstrained values as a vector in whitened coordinates."""
    factors = adapt_state.mass_matrix_sqrt
    if not isinstance(factors, dict):
        return times(factors, ravel_pytree(z)[0])
    return jnp.concatenate(
        [
            times(factors[names], ravel_pytree(tuple(z[name] for name in names))[0])
            for names in sorted(factors)
        ]
    )


def unwhiten(w: Float[Array, " D"], z: Any, adapt_state: Any) -> Any:
    """`whiten` undone; ``z`` gives the structure and the shapes."""
    factors = adapt_state.mass_matrix_sqrt_inv
    if not isinstance(factors, dict):
        return ravel_pytree(z)[1](times(factors, w))
    values: dict[str, Array] = {}
    begin = 0
    for names in sorted(factors):  # `jit` does not keep the order of a dict
        vector, unravel = ravel_pytree(tuple(z[name] for name in names))
        block = times(factors[names], w[begin : begin + vector.size])
        values |= dict(zip(names, unravel(block), strict=True))
        begin += vector.size
    return {name: values[name] for name in z}


def times(factor: Array, vector: Float[Array, " D"]) -> Float[Array, " D"]:
    """A diagonal, or the transpose of a matrix, times a vector."""
    factor = jnp.asarray(factor, vector.dtype)
    if factor.ndim == 1:
        return factor * vector
    return jnp.dot(factor.T, vector, precision="highest")
