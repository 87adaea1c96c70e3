"""Keys whose numbers depend on how many are drawn at once, of which no chain can be solved."""

from typing import Any

import jax
import jax.numpy as jnp


def check_keys(keys: Any, otherwise: str = "") -> None:
    """Refuse keys that draw other numbers under `jax.vmap` than by themselves.

    A solve evaluates all steps at once, and must see the numbers that the steps see one by one.

    Args:
        keys: keys, typed or raw, among other leaves of a pytree, which are let through.
        otherwise: what else can be done.

    Raises:
        ValueError: for `rbg` and `unsafe_rbg`, whose batches come from the device's generator.

    >>> import jax
    >>> check_keys(jax.random.key(0, impl="threefry2x32"))
    """
    for leaf in jax.tree.leaves(keys):
        if not is_key(leaf):
            continue
        impl = str(jax.random.key_impl(leaf))
        if "rbg" in impl:
            raise ValueError(
                f"Keys of kind {impl} draw other numbers for many steps at once than one by one; "
                f'use jax.random.key(seed, impl="threefry2x32"){otherwise}.'
            )


def is_key(leaf: Any) -> bool:
    """Whether it is a typed key, or has the shape and dtype of raw ones of the default kind."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return False
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return True
    raw = jax.eval_shape(jax.random.PRNGKey, 0)
    return dtype == raw.dtype and leaf.shape[-1:] == raw.shape
