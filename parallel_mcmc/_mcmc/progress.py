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
    """The number of a tqdm bar that `advance` or `after_round` moves; 0 if no bar is shown.

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


def after_round(
    number: Any, chain: Any, gradients: Any, step_size: Any, rate: Any, rhat: Any
) -> None:
    """Called from inside a warm-up: the helpers of a chain have made a round.

    The bar counts the gradients that followed one another, of the chain with the most, and shows
    the helpers of the chain that spoke last.
    """
    if int(number) not in _bars:
        return
    bar, made = _bars[int(number)]
    made[int(chain)] = int(gradients)
    bar.set_postfix_str(
        f"step size {float(step_size):.2g}, acceptance {float(rate):.2f}, R-hat {float(rhat):.2f}",
        refresh=False,
    )
    bar.update(max(made.values()) - bar.n)
