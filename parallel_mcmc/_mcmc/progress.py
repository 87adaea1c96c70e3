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
def showing(total: int, shown: bool = True, unit: str = "draw") -> Iterator[int]:
    """The number of a tqdm bar that `advance` or `after_warmup` moves; 0 if no bar is shown.

    Of several processes the first shows it; all have the same number, as they share the program.
    """
    if not shown:
        yield 0
        return
    from tqdm.auto import tqdm

    silent = {"disable": True} if jax.process_index() else {}
    number = next(_numbers)
    named = {"desc": "warm-up"} if unit == "gradient" else {}
    with tqdm(total=total, unit=unit, **named, **silent) as bar:
        _bars[number] = bar, {}
        try:
            yield number
            jax.effects_barrier()
            if unit == "draw":
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


def after_warmup(number: int, gradients: int, step_size: float, rhat: float) -> None:
    """Where the helpers of a run's chains have come to: gradients in turn, a step size, R-hat."""
    bar, _ = _bars[number]
    bar.total = max(bar.total, gradients)
    bar.set_postfix_str(f"step size {step_size:.2g}, R-hat {rhat:.2f}", refresh=False)
    bar.update(gradients - bar.n)
