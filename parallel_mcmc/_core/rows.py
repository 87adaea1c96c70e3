"""Arrays with a row for each step: shifted rows, slices, and reductions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import SHORT_ROW


def before(a: Array, first: Any = 0) -> Array:
    """The row before each row, with ``first`` before the first.

    >>> import jax.numpy as jnp
    >>> before(jnp.array([1, 2, 3]), first=7).tolist()
    [7, 1, 2]
    """
    return before_here(a, across.from_before(a, first))


def before_here(a: Array, first: Any = 0) -> Array:
    """`before` among the rows of this device."""
    # On a GPU padding is fused into the kernel that reads it; a concatenation is not.
    moved = jax.lax.pad(a, jnp.zeros((), a.dtype), [(1, -1, 0)] + [(0, 0, 0)] * (a.ndim - 1))
    index = jnp.arange(len(a)).reshape(-1, *[1] * (a.ndim - 1))
    return jnp.where(index == 0, first, moved)


def after(a: Array) -> Array:
    """The row after each row, with zero after the last.

    >>> import jax.numpy as jnp
    >>> after(jnp.array([1, 2, 3])).tolist()
    [2, 3, 0]
    """
    moved = jax.lax.pad(a, jnp.zeros((), a.dtype), [(-1, 1, 0)] + [(0, 0, 0)] * (a.ndim - 1))
    if across.devices() is None:
        return moved
    return moved.at[-1].set(across.from_after(a))


def some_rows(tree: Any, begin: Int[Array, ""], length: int) -> Any:
    """``length`` rows of every leaf, from ``begin`` on."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, begin, length), tree)


def first_of(tree: Any) -> Any:
    """The first row of every leaf."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def window_of(states: Float[Array, "L D"], offset: Any, window: int) -> Float[Array, "W D"]:
    """The states to iterate on: all of them if the window does not slide."""
    return states if window == len(states) else some_rows(states, offset, window)


def with_window(states: Float[Array, "L D"], offset: Any, x: Float[Array, "W D"]) -> Array:
    """The states with those of a window replaced, ``(L, D)``: the inverse of `window_of`."""
    if len(x) == len(states):
        return x
    return jax.lax.dynamic_update_slice_in_dim(states, x, offset, 0)


def state_before(states: Float[Array, "L D"], x_start: Float[Array, " D"], t: Any) -> Any:
    """x_{t-1}, the state before one step."""
    return jnp.where(t == 0, x_start, across.row_of(states, jnp.maximum(t - 1, 0)))


def shift(a: Shaped[Array, "W ..."], k: Int[Array, ""], behind: Any = None) -> Array:
    """Rows from k on, followed by those of ``behind``, zeros by default."""
    behind = jnp.zeros_like(a) if behind is None else behind
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([a, behind]), k, a.shape[0])


def finite_rows(leaf: Float[Array, "T ..."]) -> Bool[Array, " T"]:
    """Which rows have only finite entries."""
    return all_of(jnp.isfinite(leaf.reshape(len(leaf), -1)))


def all_of(a: Bool[Array, "*T D"]) -> Bool[Array, "*T"]:
    """Which rows are true in all of their entries."""
    return of_row(jnp.all, jnp.logical_and, a)


def most_of(a: Float[Array, "*T D"]) -> Float[Array, "*T"]:
    """The largest entry of each row."""
    return of_row(jnp.max, jnp.maximum, a)


def sum_of(a: Float[Array, "*T D"]) -> Float[Array, "*T"]:
    """The sum of each row."""
    return of_row(jnp.sum, jnp.add, a)


def of_row(whole: Callable, pair: Callable, a: Array) -> Array:
    """A reduction of each row; written out up to `SHORT_ROW`, to save a kernel on a GPU.

    >>> import jax.numpy as jnp
    >>> sum_of(jnp.array([[1, 2], [3, 4]])).tolist(), sum_of(jnp.ones((1, 9))).tolist()
    ([3, 7], [9.0])
    """
    if not 0 < a.shape[-1] <= SHORT_ROW:
        return whole(a, axis=-1)
    return functools.reduce(pair, [a[..., i] for i in range(a.shape[-1])])


def every(true: Bool[Array, " T"]) -> Bool[Array, ""]:
    """Whether all rows are true."""
    return across.all_devices(jnp.all(true))


def num_leading(true: Bool[Array, " T"]) -> Int[Array, ""]:
    """How many are true before the first that is not."""
    return across.least(jnp.min(first_false(true)))


def first_false(true: Bool[Array, " T"]) -> Int[Array, " T"]:
    """Numbers whose minimum is the index of the first that is false, or T."""
    T = len(true)
    return jnp.where(true, across.whole(T), across.numbers(T, jnp.int32))


def least_and_sums(least: tuple[Array, ...], terms: tuple[Array, ...]) -> list[Array]:
    """The minima of some numbers per step, and the sums of others, in one pass.

    All as int32.

    >>> import jax.numpy as jnp
    >>> [int(n) for n in least_and_sums((jnp.array([3, 2]),), (jnp.array([True, True]),))]
    [2, 2]
    """

    def combine(a, b):
        pairs = zip(a, b, strict=True)
        return tuple(
            jax.lax.min(x, y) if i < len(least) else jax.lax.add(x, y)
            for i, (x, y) in enumerate(pairs)
        )

    numbers = [number.astype(jnp.int32) for number in (*least, *terms)]
    most = jnp.full((), jnp.iinfo(jnp.int32).max, jnp.int32)
    begin = [most] * len(least) + [jnp.zeros((), n.dtype) for n in numbers[len(least) :]]
    here = list(jax.lax.reduce(numbers, begin, combine, (0,)))
    if across.devices() is None:
        return here
    n = len(least)
    of_all = across.gathered(jnp.stack(here))
    return [*jnp.min(of_all[:, :n], axis=0), *jnp.sum(of_all[:, n:], axis=0, dtype=jnp.int32)]


def either(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    """One of two pytrees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
