"""32 bits that tell a model's arguments from others.

A window of draws is handed out over many calls, and each call brings the model's arguments: a
window that was solved for other data must not be. Values are hashed where they are known, and by
the compiled program where they are not, as under ``jit_model_args=True``; there it takes one pass
over the data, less than one log density does. Two data sets have the same fingerprint with
probability 2^-32.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32


def fingerprint(tree: Any) -> UInt32[Array, ""]:
    """Of the leaves' shapes and bits and of the tree's structure, traced leaves among them."""
    leaves, structure = jax.tree.flatten(tree)
    traced = [leaf for leaf in leaves if isinstance(leaf, jax.core.Tracer)]
    known = [None if isinstance(leaf, jax.core.Tracer) else leaf for leaf in leaves]
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in traced]
    total = np.frombuffer(digest((known, shapes, str(structure)))[:4], np.uint32)[0]
    for leaf in traced:
        bits = words(leaf)
        places = jnp.arange(bits.size, dtype=jnp.uint32)
        # The total so far goes in, so that the order of the leaves counts.
        total = mix(jnp.sum(mix(bits ^ mix(places)), dtype=jnp.uint32) + mix(total))
    return jnp.asarray(total, jnp.uint32)


def digest(tree: Any) -> bytes:
    """The same of values that are known, in 16 bytes."""
    leaves, structure = jax.tree.flatten(tree)
    found = hashlib.blake2b(str(structure).encode(), digest_size=16)
    for leaf in leaves:
        if is_key(leaf):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        found.update(f"{array.shape} {array.dtype}".encode())
        # An object that is no array is itself alone, and what it says of itself.
        is_object = array.dtype == object
        found.update(f"{id(leaf)} {leaf!r}".encode() if is_object else array.tobytes())
    return found.digest()


def is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def words(leaf: Array) -> UInt32[Array, " words"]:
    """An array's bits, in words of 32 or fewer."""
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag])
    if leaf.dtype != bool:
        size = min(leaf.dtype.itemsize, 4)
        leaf = jax.lax.bitcast_convert_type(leaf, f"uint{8 * size}")
    return leaf.astype(jnp.uint32).ravel()


def mix(word: Any) -> Any:
    """Each bit of the result depends on all 32: the last rounds of MurmurHash3.

    A sum with fixed weights would not do: in it the changed signs of two numbers cancel.
    """
    word = jnp.asarray(word, jnp.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = (word ^ (word >> shift)) * jnp.uint32(factor)
    return word ^ (word >> 16)
