"""Compiled programs: kept for the next call, but only as many as memory has room for.

`jax.jit` keeps a program for each value of its static arguments, thousands of them, and a
reference to these arguments. A kernel or lambda that is rebuilt for every call adds one each time:
4 to 20 MB and some 700 memory mappings. Linux gives a process 65,530 of these; then the compiler
aborts.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from parallel_mcmc._core.lapack import one_matrix_at_a_time

NUM_KEPT = 16
"""Programs kept per function; those of all functions stay within the memory mappings."""


def compiled(num_static: int) -> Callable[[Callable], Callable]:
    """`jax.jit` with the first arguments static; keeps the `NUM_KEPT` most recently used programs.

    A dropped program frees its memory and its static arguments, and is recompiled if it is called
    again. The call waits for the result, so that errors on the device are raised here.

    >>> @compiled(num_static=1)
    ... def apply(f, x):
    ...     return f(x)
    >>> int(apply(abs, -2))
    2
    """

    def decorate(function: Callable) -> Callable:
        @functools.lru_cache(maxsize=NUM_KEPT)
        def program(*static: Any) -> Callable:
            return jax.jit(one_matrix_at_a_time(functools.partial(function, *static)))

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            with within_memory():
                run = program(*arguments[:num_static])
                return ready(run(*arguments[num_static:]))

        return call

    return decorate


def ready(results: Any) -> Any:
    """`jax.block_until_ready`, during which Python goes on to handle signals, such as Ctrl-C.

    It looks again after 2% of the time that it has waited, between 0.1 and 50 ms.
    """
    begun = time.perf_counter()
    arrays = [leaf for leaf in jax.tree.leaves(results) if hasattr(leaf, "is_ready")]
    while not all(leaf.is_ready() for leaf in arrays):
        waited = time.perf_counter() - begun
        time.sleep(min(max(waited / 50, 1e-4), 0.05))
    return jax.block_until_ready(results)


def kept(programs: dict, name: Any, make: Callable[[], Callable]) -> Callable:
    """The program with this name in a dict, made if missing; without a name it is not kept."""
    if name is None:
        return make()
    program = programs[name] = programs.pop(name) if name in programs else make()  # goes last
    forget_oldest(programs)
    return program


def forget_oldest(programs: dict) -> None:
    """Apply the same bound to a dict of programs, in place."""
    while len(programs) > NUM_KEPT:
        del programs[next(iter(programs))]


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """Raise an error with a next step if the device runs out of memory.

    Raises:
        MemoryError: caused by JAX's error.
        KeyboardInterrupt: the same, where Ctrl-C came while a program called back to Python.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")
        raise MemoryError(
            f"The device has too little memory ({reason}); solve fewer steps together with a "
            "shorter `window`, such as window=1000, or take fewer draws or chains in one call."
        ) from error
