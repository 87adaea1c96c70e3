"""Evaluate a function at all steps, in blocks of time whose intermediates stay in cache.

The log density of N data computes N intermediate numbers per step, and derivatives several times as
many. For all T steps at once, each operation writes these to memory and the next reads them back;
for a block of 8 to 192 steps they stay in cache. Steps are independent of each other, so the values
are those of `jax.vmap`, up to the rounding of compiled code.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

STEPS_OF_A_BYTE = 4_000
"""Steps of a block with one byte of intermediates per step, on a CPU. Every operation has a fixed
cost per block, which is less per step in a longer block, and a cost per step that grows with the
data that spill into slower caches: the best length is inversely proportional to the root of the
bytes. The number fits the targets of the examples (docs/performance.md)."""

MOST = 192
"""Most steps of a block on a CPU. XLA passes reductions of 4,096 numbers and more to kernels that
take ten times as long per number if each sum is over a few, as in narrow models."""

CACHE_BYTES = 2**20
"""Bytes of data that a CPU core keeps in cache; each block rereads larger data from memory."""

DEVICE_BYTES, DEVICE_SHARE = 2**28, 1 / 32
"""The most bytes of intermediates on a device whose memory is unknown, and the most as a share of
known memory: a bound, not a choice for speed."""

FEW, MANY = 8, 64
"""Least steps of a block, and of a block that reads data larger than the cache. Lengths are
multiples of the former, the width of vector instructions."""


def map_steps(at: Callable, *steps: Any) -> Any:
    """``jax.vmap(at)(*steps)`` of arrays with a leading axis of T steps, block by block.

    Args:
        at: function of one row of each of ``steps``.
        steps: pytrees of arrays.

    Costs as much as `jax.vmap`, plus up to one block of steps that are evaluated twice. Beyond the
    results it needs the memory of one block.

    >>> import jax.numpy as jnp
    >>> map_steps(lambda x, y: x * y, jnp.arange(3), jnp.arange(3)).tolist()
    [0, 1, 4]
    """
    return map_steps_keep_last(lambda *row: (at(*row), None), *steps)[0]


def map_steps_keep_last(at: Callable, *steps: Any) -> tuple[Any, Any]:
    """`map_steps` of a function that returns a pair; the second part is kept for the last step.

    A chain is continued from the caches of its last state; at other steps they take no memory.

    >>> import jax.numpy as jnp
    >>> every, last = map_steps_keep_last(lambda x: (x + 1, 2 * x), jnp.arange(3))
    >>> every.tolist(), last.tolist()
    ([1, 2, 3], 4)
    """
    T = jax.tree.leaves(steps)[0].shape[0]
    row = jax.eval_shape(lambda steps: jax.tree.map(lambda a: a[0], steps), steps)
    traced, shapes = jax.make_jaxpr(at, return_shape=True)(*row)
    structure = jax.tree.structure(shapes)

    def again(*row: Any) -> Any:
        results = core.jaxpr_as_fun(traced)(*jax.tree.leaves(row))
        return jax.tree.unflatten(structure, results)

    def evaluate(*block: Any) -> tuple[Any, Any]:
        every, other = jax.vmap(again)(*block)
        return every, jax.tree.map(lambda a: a[-1], other)

    length = block_length(T, widest(traced.jaxpr), bytes_of_data(traced))
    if length == T:
        return evaluate(*steps)

    def write(i: Any, results: tuple[Any, Any]) -> tuple[Any, Any]:
        begin = jnp.minimum(i * length, T - length)  # the last block ends where the steps do
        block = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, begin, length), steps)
        part, last = evaluate(*block)
        every = jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, begin, 0),
            results[0],
            part,
        )
        return every, last

    every, last = shapes
    none = jax.tree.map(lambda shape: jnp.zeros((T, *shape.shape), shape.dtype), every)
    no_last = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), last)
    return jax.lax.fori_loop(0, math.ceil(T / length), write, (none, no_last))


def block_length(T: int, num_bytes: int, num_data_bytes: int = 0) -> int:
    """Steps of a block, T if there is only one. Blocks are equally long; the last may overlap.

    Args:
        T: all steps.
        num_bytes: of the widest intermediate of one step.
        num_data_bytes: of the data that all steps share.
    """
    num_bytes = max(num_bytes, 1)
    if jax.default_backend() == "cpu":
        length = min(MOST, STEPS_OF_A_BYTE / math.sqrt(num_bytes))
    else:
        length = (device_memory(unknown=0.0) * DEVICE_SHARE or DEVICE_BYTES) / num_bytes
    least = MANY if num_data_bytes > CACHE_BYTES else FEW
    length = max(least, FEW * math.floor(length / FEW))
    if length >= T:
        return T
    return FEW * math.ceil(math.ceil(T / math.ceil(T / length)) / FEW)


def device_memory(unknown: float) -> float:
    """Bytes that programs may use on the device."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", unknown)


def widest(jaxpr: Any) -> int:
    """Bytes of the largest result of a single operation, nested operations included."""
    own = (sum(num_bytes_of(v.aval) for v in equation.outvars) for equation in jaxpr.eqns)
    inner = (widest(getattr(sub, "jaxpr", sub)) for sub in inside(jaxpr))
    return max([*own, *inner], default=0)


def bytes_of_data(traced: core.ClosedJaxpr) -> int:
    """Bytes of the arrays that a function, and the functions it calls, close over."""
    closed = (sub for sub in inside(traced.jaxpr) if isinstance(sub, core.ClosedJaxpr))
    return sum(map(num_bytes_of, traced.consts)) + sum(map(bytes_of_data, closed))


def inside(jaxpr: Any) -> Iterator[Any]:
    """Programs that the operations of a program call, such as loop bodies."""
    for equation in jaxpr.eqns:
        yield from called_by(equation)


def called_by(equation: Any) -> list[Any]:
    """Programs that one operation calls."""
    values = jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr)
    return list(filter(is_jaxpr, values))


def is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def num_bytes_of(aval: Any) -> int:
    return aval.size * aval.dtype.itemsize if hasattr(aval, "dtype") else 0
