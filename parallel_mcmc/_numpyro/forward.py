"""Gradients made of products with the Jacobian, for potentials that have no other.

A `jax.lax.while_loop`, or a `fori_loop` of a length that is not known, can be differentiated
forwards, one direction at a time, and not backwards. NumPyro's ``forward_mode_differentiation``
is for models with such a loop.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def with_forward_gradient(
    potential_fn: Callable[[Any, Any], Any], arguments: Any
) -> Callable[[Any], Any]:
    """``z -> potential_fn(z, arguments)``, whose `jax.grad` takes only forward derivatives.

    A gradient by z costs D products with the Jacobian. It can be differentiated forwards again, as
    Newton's methods do. It is not differentiated by traced ``arguments``.
    """
    leaves, structure = jax.tree.flatten(arguments)
    are_traced = [isinstance(leaf, jax.core.Tracer) for leaf in leaves]

    def evaluate(z, traced):
        rest = iter(traced)
        pairs = zip(leaves, are_traced, strict=True)
        values = [next(rest) if is_traced else leaf for leaf, is_traced in pairs]
        return potential_fn(z, jax.tree.unflatten(structure, values))

    # A function with a derivative of its own must not close over what is traced.
    potential = jax.custom_jvp(evaluate)

    @potential.defjvp
    def _(primals, tangents):
        (z, traced), (tangent, _) = primals, tangents

        def twice(z):
            value = evaluate(z, traced)
            return value, value

        gradient, value = jax.jacfwd(twice, has_aux=True)(z)
        # Linear in the tangent, with factors that are known: going backwards transposes this alone.
        products = jax.tree.map(lambda g, t: jnp.sum(g * t), gradient, tangent)
        return value, sum(jax.tree.leaves(products))

    traced = [leaf for leaf, is_traced in zip(leaves, are_traced, strict=True) if is_traced]
    return lambda z: potential(z, traced)
