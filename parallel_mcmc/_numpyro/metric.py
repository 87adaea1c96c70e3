"""The metric of NumPyro's warm-up: the coordinates that it whitens, and the forms that it has.

NumPyro keeps factors of the inverse mass matrix C, S' S = C^-1 and R R' = C in its names
``mass_matrix_sqrt`` = S' and ``mass_matrix_sqrt_inv`` = R', one array for all unknowns or one
for each block of sites. In w = S z the mass matrix is the identity, and z = R w.

Helpers find correlations of hundreds of unknowns, of low rank, where one chain has too few draws
for them and NumPyro's warm-up would adapt variances alone. So the state of adaptation may have a
whole matrix from the beginning; if the helpers did not settle, NumPyro's warm-up goes on with it
until it has variances of its own to put in its place.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from parallel_mcmc._core.rows import either

METRIC = ("inverse_mass_matrix", "mass_matrix_sqrt", "mass_matrix_sqrt_inv")
"""Fields of NumPyro's state of adaptation that are of the metric's shape."""

DEPENDS_ON_METRIC = (*METRIC, "step_size", "ss_state")
"""Fields of NumPyro's state of adaptation that the end of a warm-up window sets."""


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


def places(z: Any) -> dict[str, np.ndarray]:
    """The places of each site's values in the vector of all."""
    ends = np.cumsum([jnp.size(z[name]) for name in sorted(z)])
    return dict(zip(sorted(z), np.split(np.arange(ends[-1]), ends[:-1]), strict=True))


def place_of(names: tuple, z: Any) -> np.ndarray:
    return np.concatenate([places(z)[name] for name in names])


def blocks_of(dense_mass: list, z: Any) -> np.ndarray:
    """Entries of a metric that may differ from zero: blocks of sites, and the diagonal."""
    blocks = np.eye(sum(jnp.size(leaf) for leaf in z.values()), dtype=bool)
    for names in dense_mass:
        place = place_of(names, z)
        blocks[np.ix_(place, place)] = True
    return blocks


def by_blocks(matrix: Array, dense_mass: bool | list, z: Any) -> Any:
    """The metric of the vector of all values, as NumPyro has it: an array, or a dict of them."""
    if not isinstance(dense_mass, list):
        return matrix
    found = {}
    for names in dense_mass:
        place = place_of(names, z)
        found[names] = matrix[np.ix_(place, place)]
    rest = tuple(sorted(set(z) - set().union(*dense_mass)))
    if rest:
        variances = matrix if matrix.ndim == 1 else jnp.diagonal(matrix)
        found[rest] = variances[place_of(rest, z)]
    return found


def with_whole(adapt_state: Any, whole: Any) -> Any:
    """The state with the metric of another one."""
    return adapt_state._replace(**metric_of(whole))


def updated_beneath(update: Callable[[Any], Any], adapt_state: Any) -> Any:
    """NumPyro's update, which is for variances, of a state that has a whole metric.

    The whole metric stays until the update finds other variances.
    """
    whole = metric_of(adapt_state)
    variances = jax.tree.map(jnp.diagonal, whole)
    found = update(adapt_state._replace(**variances))
    new = metric_of(found)
    same = jax.tree.map(lambda a, b: jnp.all(a == b), new, variances)
    stays = jnp.all(jnp.stack(jax.tree.leaves(same)))
    return found._replace(**either(stays, whole, jax.tree.map(jnp.diag, new)))


def metric_of(adapt_state: Any) -> dict[str, Any]:
    return {name: getattr(adapt_state, name) for name in METRIC}
