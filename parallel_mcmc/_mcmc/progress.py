"""The bars of runs, moved from inside the solves as steps become right.

Runs may go on at the same time, in threads, and share a compiled program, so that each hands its
bar's number to the program as an argument.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import jax

_bars: dict[int, tuple[Any, dict[int, int]]] = {}
_numbers = itertools.count(1)


@contextlib.contextmanager
def showing(total: int, shown: bool = True) -> Iterator[int]:
    """A tqdm bar that `advance` moves, by its number; without one the number is 0."""
    if not shown:
        yield 0
        return
    from tqdm.auto import tqdm

    number = next(_numbers)
    with tqdm(total=total, unit="draw") as bar:
        _bars[number] = bar, {}
        try:
            yield number
            jax.effects_barrier()
            bar.update(total - bar.n)
        finally:
            del _bars[number]


def advance(number: Any, chain: Any, frontier: Any) -> None:
    """Called from inside the solve: a chain of the run with this bar has come this far."""
    if int(number) not in _bars:
        return
    bar, frontiers = _bars[int(number)]
    frontiers[int(chain)] = max(frontiers.get(int(chain), 0), int(frontier))
    bar.update(sum(frontiers.values()) - bar.n)
