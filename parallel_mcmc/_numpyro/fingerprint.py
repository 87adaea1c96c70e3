"""32 bits that tell a model's arguments from others.

A window of draws is handed out over many calls, and each call brings the model's arguments. A
window that was solved for other data must not be handed out. Values are hashed where they are
known, and by the compiled program where they are not, as under ``jit_model_args=True``; there it
takes one pass over the data, less than one log density does. Two data sets have the same
fingerprint with probability 2^-32.

Known values are compared by what they hold: numbers, strings, arrays, and trees of these, with
what the nodes of a tree say of themselves. A function or a class equals only itself, and for a
function what it closes over counts, too. Anything else, such as a data frame, an `xarray.Dataset`
or a lazy sequence, is opaque: it may change without a sign, so it is left alone, and nothing that
was made with it is used again.
"""

import enum
import functools
import hashlib
import pickle
import types
import uuid
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

PLAIN = (bool, int, float, complex, str, bytes, range, type(...))
"""Values that never change and are all that they hold."""

NODES = {tuple: b"tuple", list: b"list", dict: b"dict", type(None): b"None"}
"""Types with names that do not change from process to process, nor do programs with them.

JAX keeps compiled programs on disk, and finds them by their constants.
"""

names: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
"""Of functions and classes: their addresses may come again, once they are gone."""


class OpaqueError(Exception):
    """Something cannot be compared."""


def fingerprint(tree: Any) -> UInt32[Array, ""]:
    """Of the leaves' shapes and bits and of the tree's structure, traced leaves among them.

    With something opaque inside it is another one at each call: under `jit` at each trace.
    """
    leaves, structure = jax.tree.flatten(tree)
    traced = [leaf for leaf in leaves if isinstance(leaf, jax.core.Tracer)]
    known = [None if isinstance(leaf, jax.core.Tracer) else leaf for leaf in leaves]
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in traced]
    found = digest((known, shapes, structure)) or uuid.uuid4().bytes
    total = np.frombuffer(found[:4], np.uint32)[0]
    for leaf in traced:
        bits = words(leaf)
        places = jnp.arange(bits.size, dtype=jnp.uint32)
        # The total so far goes in, so that the order of the leaves counts.
        total = mix(jnp.sum(mix(bits ^ mix(places)), dtype=jnp.uint32) + mix(total))
    return jnp.asarray(total, jnp.uint32)


def digest(tree: Any) -> bytes | None:
    """The same of values that are known, in 16 bytes; None with something opaque inside."""
    found = hashlib.blake2b(digest_size=16)
    try:
        add_tree(found, tree, ())
    except OpaqueError:
        return None
    return found.digest()


def add_tree(found: Any, tree: Any, within: tuple) -> None:
    """Hash a tree; ``within`` are the functions that it is a part of, which may hold themselves."""
    leaves, structure = jax.tree.flatten(tree)
    add_structure(found, structure, within)
    for leaf in leaves:
        add_leaf(found, leaf, within)


def add_structure(found: Any, structure: Any, within: tuple) -> None:
    """The types of the nodes, and the keys or whatever else they keep beside their children."""
    node, children = structure.node_data(), structure.children()
    if node is None:
        found.update(b"leaf ")
        return
    kind, beside = node
    found.update(f"node of {len(children)}, {beside is None} ".encode() + name_of(kind))
    if beside is not None:
        add_tree(found, beside, within)
    for child in children:
        add_structure(found, child, within)


def add_leaf(found: Any, leaf: Any, within: tuple) -> None:
    if isinstance(leaf, jax.core.Tracer):  # that a function closes over
        raise OpaqueError
    if type(leaf) is np.ndarray or isinstance(leaf, np.generic | jax.Array):
        add_array(found, leaf, within)
    elif type(leaf) in PLAIN or isinstance(leaf, np.dtype):
        held = pickle.dumps(leaf, protocol=4)
        found.update(f"value of {len(held)} ".encode() + held)
    elif isinstance(leaf, jax.tree_util.PyTreeDef):
        add_structure(found, leaf, within)
    elif isinstance(leaf, enum.Enum):
        found.update(name_of(type(leaf)))
        add_leaf(found, leaf.name, within)
    elif isinstance(leaf, functools.partial):
        add_tree(found, ("partial", leaf.func, leaf.args, leaf.keywords), within)
    elif isinstance(leaf, types.MethodType):
        add_tree(found, ("method", leaf.__func__, leaf.__self__), within)
    elif is_function(leaf):
        found.update(name_of(leaf))
        if not any(leaf is outer for outer in within):
            add_tree(found, held_by(leaf), (*within, leaf))
    else:
        raise OpaqueError


def add_array(found: Any, array: Any, within: tuple) -> None:
    # A number by itself and an array take part in promotion differently, though they are equal.
    kind = type(array).__name__, array.shape, str(array.dtype), getattr(array, "weak_type", False)
    found.update(f"array {kind} ".encode())
    if is_key(array):
        array = jax.random.key_data(array)
    if array.dtype == object:
        add_tree(found, array.ravel().tolist(), within)
    elif array.dtype.hasobject:
        raise OpaqueError
    else:
        found.update(np.asarray(array).tobytes())


def is_function(leaf: Any) -> bool:
    """Functions, classes and modules, and functions as JAX wraps them."""
    if isinstance(leaf, types.BuiltinFunctionType):
        return leaf.__self__ is None or isinstance(leaf.__self__, types.ModuleType)
    if isinstance(leaf, types.FunctionType | type | types.ModuleType):
        return True
    return callable(leaf) and type(leaf).__module__.split(".")[0] in ("jax", "jaxlib")


def held_by(function: Any) -> tuple:
    """What a function brings along, of which some may change."""
    if not isinstance(function, types.FunctionType):
        return (getattr(function, "__wrapped__", None),) if callable(function) else ()
    cells = [cell.cell_contents for cell in function.__closure__ or () if not is_empty(cell)]
    return cells, function.__defaults__, function.__kwdefaults__


def is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def name_of(thing: Any) -> bytes:
    """Of something that is itself alone: never given to anything else."""
    if isinstance(thing, type) and thing in NODES:
        return NODES[thing]
    try:
        return names.setdefault(thing, uuid.uuid4().bytes)
    except TypeError as error:  # no weak references to it
        raise OpaqueError from error


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
