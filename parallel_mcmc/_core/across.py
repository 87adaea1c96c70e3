"""A time axis that lies over several devices: what one device needs from the others.

A chain on a mesh is traced once, inside `jax.shard_map`, for the rows that a device holds. Almost
all of an iteration is about single rows, and does not change. The few functions that cross time
(the row before, a scan, the frontier, the spread, sums over all rows) ask this module, which says
whether there are other devices. Where there are none, every function here returns its argument,
and the program is the one of a single device.

Everything that crosses is a `jax.lax.all_gather` of some numbers per device, never of rows. A
`ppermute` would send less. But on a CPU all devices of a mesh must take part in it, also those
whose chains need fewer iterations: such a program waits for ever. And sums of gathered numbers are
added in the same order every time, on every device.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


class Axis(NamedTuple):
    """The axis of a mesh over which time lies: its name, and how many devices it has."""

    name: str
    size: int


_axis: contextvars.ContextVar[Axis | None] = contextvars.ContextVar("axis", default=None)


@contextlib.contextmanager
def over(axis: Axis | None) -> Iterator[None]:
    """While a solve is traced here, its rows are one of ``axis.size`` pieces of a chain."""
    token = _axis.set(axis)
    try:
        yield
    finally:
        _axis.reset(token)


def devices() -> Axis | None:
    """The axis over which time lies; None on one device."""
    return _axis.get()


def alone(f: Callable) -> Callable:
    """A step of the chain is on one device, also if it has a solve of its own inside."""
    if devices() is None:
        return f

    @functools.wraps(f)
    def on_one_device(*args: Any) -> Any:
        with over(None):
            return f(*args)

    return on_one_device


def rank() -> Any:
    """The number of this device, along time."""
    axis = devices()
    return 0 if axis is None else jax.lax.axis_index(axis.name)


def whole(length: int) -> int:
    """Rows of all devices, if each has ``length``."""
    axis = devices()
    return length if axis is None else length * axis.size


def numbers(length: int, dtype: Any = None) -> Array:
    """The numbers, in the whole chain, of the ``length`` rows of this device."""
    here = jnp.arange(length, dtype=dtype)
    return here if devices() is None else here + (rank() * length).astype(here.dtype)


def gathered(tree: Any) -> Any:
    """What every device has, along a new leading axis; only where there are several."""
    axis = devices()
    assert axis is not None

    def gather(leaf):
        if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.lax.all_gather(leaf, axis.name)
        data = jax.lax.all_gather(jax.random.key_data(leaf), axis.name)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))

    return jax.tree.map(gather, tree)


def merged(reduce: Callable, a: Array) -> Array:
    """``reduce(..., axis=0)`` of what every device has."""
    return a if devices() is None else reduce(gathered(a), axis=0).astype(a.dtype)


least = functools.partial(merged, jnp.min)
most = functools.partial(merged, jnp.max)
total = functools.partial(merged, jnp.sum)
all_devices = functools.partial(merged, jnp.all)
any_device = functools.partial(merged, jnp.any)


def from_before(a: Array, first: Any) -> Any:
    """The last row of the device before this one; ``first`` where there is none."""
    if devices() is None:
        return first
    ends = gathered(a[-1])
    return jnp.where(rank() == 0, first, ends[jnp.maximum(rank() - 1, 0)])


def from_after(a: Array) -> Any:
    """The first row of the device after this one; zero where there is none."""
    axis = devices()
    if axis is None:
        return jnp.zeros((), a.dtype)
    begins = gathered(a[0])
    at_end = rank() == axis.size - 1
    return jnp.where(at_end, 0, begins[jnp.minimum(rank() + 1, axis.size - 1)])


def row_of(a: Array, t: Any) -> Array:
    """Row t of the whole chain, on every device."""
    if devices() is None:
        return a[t]
    here = jnp.clip(t - rank() * len(a), 0, len(a) - 1)
    return gathered(a[here])[t // len(a)]


def rows_at(a: Array, index: np.ndarray) -> Array:
    """Some rows of the whole chain, on every device; the indices are known."""
    axis = devices()
    if axis is None:
        return a[index]
    owner, here = np.divmod(index, len(a))
    count = np.bincount(owner, minlength=axis.size)
    # Each device sends equally many rows, some of them for nothing.
    wanted = np.zeros((axis.size, count.max()), np.int32)
    place = np.zeros(len(index), np.int64)
    for device in range(axis.size):
        mine = np.flatnonzero(owner == device)
        wanted[device, : len(mine)], place[mine] = here[mine], np.arange(len(mine))
    return gathered(a[jnp.asarray(wanted)[rank()]])[owner, place]


def summed_up(sums: Array) -> Array:
    """Cumulative sums over the whole chain, from those of each device."""
    if devices() is None:
        return sums
    before = jnp.concatenate([jnp.zeros(1, sums.dtype), jnp.cumsum(gathered(sums[-1]))])
    return sums + before[rank()]


def of_last(tree: Any) -> Any:
    """What the last device has."""
    return tree if devices() is None else jax.tree.map(lambda leaf: leaf[-1], gathered(tree))


def in_turn(run: Callable, carry: Any) -> Any:
    """``run(is_mine, carry)`` once for every device, which take turns.

    All devices call ``run`` every time; if it is not a device's turn, it must do little there. The
    carry is that of each device. Only where there are several devices.
    """
    axis = devices()
    assert axis is not None
    return jax.lax.fori_loop(0, axis.size, lambda i, carry: run(rank() == i, carry), carry)
