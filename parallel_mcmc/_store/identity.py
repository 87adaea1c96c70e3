"""What a stored run is of, in words that are the same in every process.

A function is known by the program that JAX traces from it, and by the arrays in that program: so
another model, other data and other settings of a kernel are told apart, and the same model is found
again, from whatever file it was read.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core

from parallel_mcmc._core.time_blocks import inside

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of a Python object, such as a callback's, in the text of a program."""


def program(function: Callable, *args: Any) -> str:
    """The program of a function for arguments like these, in 16 hexadecimal digits.

    >>> import jax.numpy as jnp
    >>> data = jnp.arange(3.0)
    >>> program(lambda x: x + data, 1.0) == program(lambda y: y + jnp.arange(3.0), 2.0)
    True
    >>> program(lambda x: x + data, 1.0) == program(lambda x: x + 2 * data, 1.0)
    False
    """
    traced = jax.make_jaxpr(function)(*args)
    return digest(ADDRESS.sub("", str(traced)), *constants(traced))


def values(tree: Any) -> str:
    """The values in a tree, PRNG keys included, in 16 hexadecimal digits."""
    return digest(str(jax.tree.structure(tree)), *jax.tree.leaves(tree))


def digest(*parts: Any) -> str:
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
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
        for variable in equation.invars:
            if isinstance(variable, core.Literal):
                yield variable.val
    for called in inside(jaxpr):
        yield from constants(called)
