"""What a stored run is of, in words that are the same in every process.

A function is identified by the program that JAX traces from it, and by the arrays in that program.
So another model, other data and other settings of a kernel are told apart, and the same model is
recognised, whatever its name and file.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core

from parallel_mcmc._core.time_blocks import inside
from parallel_mcmc._store.store import StoreError

NAMES = re.compile(r" at 0x[0-9a-fA-F]+|name=\S+")
"""In the text of a program: addresses of Python objects, and names of functions."""

HARMLESS = ("debug_callback", "debug_print")
"""Callbacks that return nothing."""

PLAIN = (bool, int, float, complex, str, type(None))


def program(function: Callable, *args: Any) -> str:
    """The program of a function for arguments like these, in 16 hexadecimal digits.

    Raises:
        StoreError: if it calls back to Python, where the program does not show what is computed.

    >>> import jax.numpy as jnp
    >>> data = jnp.arange(3.0)
    >>> program(lambda x: x + data, 1.0) == program(lambda y: y + data, 2.0)
    True
    >>> program(lambda x: x + data, 1.0) == program(lambda x: x + 2 * data, 1.0)
    False
    """
    traced, result = jax.make_jaxpr(function, return_shape=True)(*args)
    text = traced.jaxpr.pretty_print(use_color=False)
    structures = str(jax.tree.structure((args, result)))
    return digest(NAMES.sub("", text), structures, *constants(traced))


def values(tree: Any) -> str:
    """The values in a tree, PRNG keys included, in 16 hexadecimal digits."""
    return digest(str(jax.tree.structure(tree)), *jax.tree.leaves(tree))


def option(value: Any) -> str:
    """An option of a kernel: numbers, arrays, trees of these, and functions by their names.

    Raises:
        StoreError: for anything else.
    """
    if isinstance(value, functools.partial):
        return option(value.func) + option((value.args, value.keywords))
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    leaves = jax.tree.leaves(value, is_leaf=lambda leaf: leaf is None)
    if not all(isinstance(leaf, (*PLAIN, np.ndarray, np.generic, jax.Array)) for leaf in leaves):
        raise StoreError(
            f"A store cannot tell whether an option of type {type(value).__name__} is the same "
            "the next time; give numbers, arrays or functions."
        )
    plain = [repr(leaf) if isinstance(leaf, PLAIN) else values(leaf) for leaf in leaves]
    return digest(str(jax.tree.structure(value)), *plain)


def digest(*parts: Any) -> str:
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            found.update(f"{len(part)} {part}".encode())
            continue
        array = plain(part)
        found.update(f"{array.shape} {array.dtype} ".encode() + array.tobytes())
    return found.hexdigest()


def plain(leaf: Any) -> np.ndarray:
    """An array of NumPy's; of a PRNG key its data."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def constants(program: Any) -> Iterator[Any]:
    """The arrays in a program and in those that it calls."""
    yield from getattr(program, "consts", ())
    jaxpr = getattr(program, "jaxpr", program)
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name.endswith("callback") and name not in HARMLESS:
            raise StoreError(
                f"A store cannot tell whether a model that calls back to Python ({name}) is the "
                "same the next time; run it without a store."
            )
        for variable in equation.invars:
            if isinstance(variable, core.Literal):
                yield variable.val
    for called in inside(jaxpr):
        yield from constants(called)
