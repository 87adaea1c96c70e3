"""Compiled programs: kept for the next call, and no more of them than memory has room for.

`jax.jit` keeps a program for each value of its static arguments, thousands of them, and holds
these arguments. A kernel or a lambda that is built anew adds one at every call: 4 to 20 MB
and some 700 memory mappings. Linux gives a process 65,530 of these; then the compiler aborts.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from parallel_mcmc._core.lapack import one_matrix_at_a_time

NUM_KEPT = 16
"""Programs of one function. All functions' programs together stay within the memory mappings."""


def compiled(num_static: int) -> Callable[[Callable], Callable]:
    """`jax.jit` with the first arguments static, which keeps the `NUM_KEPT` programs used last.

    A dropped program gives back its memory and its static arguments, and compiles again if it is
    called again. Waits for the result, so that what fails on the device fails here.

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
                return jax.block_until_ready(run(*arguments[num_static:]))

        return call

    return decorate


def kept(programs: dict, name: Any, make: Callable[[], Callable]) -> Callable:
    """The program of that name in a dict, made if missing; without a name it is not kept."""
    if name is None:
        return make()
    program = programs[name] = programs.pop(name) if name in programs else make()  # goes last
    forget_oldest(programs)
    return program


def forget_oldest(programs: dict) -> None:
    """The same bound for a dict of programs, in place."""
    while len(programs) > NUM_KEPT:
        del programs[next(iter(programs))]


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """A device that runs out of memory says so in a sentence with a next step.

    Raises:
        MemoryError: caused by JAX's error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")
        raise MemoryError(
            f"The device has too little memory ({reason}); solve fewer steps together with a "
            "shorter `window`, such as window=1000, or take fewer draws or chains in one call."
        ) from error
