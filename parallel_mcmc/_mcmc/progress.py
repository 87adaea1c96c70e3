"""The bars of runs, moved from inside the solves as steps become right.

Several runs may go on at once, in threads, and share a compiled program. So each run passes the
number of its bar to the program as an argument.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax

_bars: dict[int, tuple[Any, dict[int, int]]] = {}
_numbers = itertools.count(1)


@contextlib.contextmanager
def showing(total: int, shown: bool = True) -> Iterator[int]:
    """The number of a tqdm bar that `advance` moves; 0 if no bar is shown.

    Of several processes the first shows it; all have the same number, as they share the program.
    """
    if not shown:
        yield 0
        return
    from tqdm.auto import tqdm

    silent = {"disable": True} if jax.process_index() else {}
    number = next(_numbers)
    with tqdm(total=total, unit="draw", **silent) as bar:
        _bars[number] = bar, {}
        try:
            yield number
            jax.effects_barrier()
            bar.update(total - bar.n)
        finally:
            del _bars[number]


@contextlib.contextmanager
def counting(total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A function that moves a bar to a number of draws, from whatever thread."""
    if not shown:
        yield lambda draws: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="draw", disable=bool(jax.process_index())) as bar:
        yield lambda draws: bar.update(draws - bar.n) and None


def advance(number: Any, chain: Any, frontier: Any) -> None:
    """Called from inside the solve: a chain of the run with this bar has come this far."""
    if int(number) not in _bars:
        return
    bar, frontiers = _bars[int(number)]
    frontiers[int(chain)] = max(frontiers.get(int(chain), 0), int(frontier))
    bar.update(sum(frontiers.values()) - bar.n)
