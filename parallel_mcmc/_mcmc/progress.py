"""Progress bars, moved between programs, or from inside a solve as steps become right.

Several runs may go on at once, in threads, and share a compiled program. So each run passes the
number of its bar to the program as an argument. JAX does not keep programs on disk that call back
to Python: where a run is several programs, the bar is moved between them.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

MOST_CHAINS = 8
"""Of how many chains a bar shows each; of more the least and the largest value."""

FORMATS = {"step size": ".2g", "acceptance": ".2f", "R-hat": ".2f"}
"""Of what a bar shows besides numbers of steps and the like."""


@dataclasses.dataclass
class Bar:
    """A bar of tqdm's, and what it is to show: how far each chain is, and facts by name."""

    bar: Any
    frontiers: dict[int, int] = dataclasses.field(default_factory=dict)
    iterations: dict[int, int] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    is_moved_from_inside: bool = False

    def move(self, done: int) -> None:
        shown = (f"{name} {written(name, value)}" for name, value in self.facts.items())
        self.bar.set_postfix_str(", ".join(shown), refresh=False)
        self.bar.update(done - self.bar.n)


_bars: dict[int, Bar] = {}
_numbers = itertools.count(1)


@contextlib.contextmanager
def showing(
    total: int | None, shown: bool = True, phase: str = "sampling", unit: str = "draw"
) -> Iterator[int]:
    """The number of a tqdm bar that `note` or the callbacks of a program move; 0 if none is shown.

    ``total`` is None where nobody knows how much there is to do.
    Of several processes the first shows it; all have the same number, as they share the program.
    """
    if not shown:
        yield 0
        return
    from tqdm.auto import tqdm

    silent = {"disable": True} if jax.process_index() else {}
    number = next(_numbers)
    with tqdm(total=total, unit=f" {unit}", desc=phase, **silent) as bar:
        mine = _bars[number] = Bar(bar)
        try:
            yield number
            jax.effects_barrier()
            if total is not None and mine.is_moved_from_inside:
                mine.move(total)
        finally:
            del _bars[number]


@contextlib.contextmanager
def counting(total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A function that moves a bar to a number of draws, from whatever thread."""
    with showing(total, shown) as number:
        yield lambda draws: note(number, draws)


def note(number: int, done: int | None = None, **facts: Any) -> None:
    """Show facts, of one chain or of several, by their names; and how far the run is."""
    if number not in _bars:
        return
    mine = _bars[number]
    # Another dict, as another thread may read the one before.
    mine.facts = mine.facts | {name.replace("_", " "): value for name, value in facts.items()}
    mine.move(mine.bar.n if done is None else done)


def advance(number: Any, chain: Any, frontier: Any) -> None:
    """Called from inside a program: a chain of the run with this bar has come this far."""
    if int(number) not in _bars:
        return
    mine, chain = _bars[int(number)], int(chain)
    mine.is_moved_from_inside = True
    mine.frontiers[chain] = max(mine.frontiers.get(chain, 0), int(frontier))
    mine.move(sum(mine.frontiers.values()))


def iterated(number: Any, chain: Any, frontier: Any) -> None:
    """The same after each iteration of a solve, which it counts."""
    if int(number) in _bars:
        mine, chain = _bars[int(number)], int(chain)
        mine.iterations[chain] = mine.iterations.get(chain, 0) + 1
        mine.facts = mine.facts | {"iteration": max(mine.iterations.values())}
    advance(number, chain, frontier)


def written(name: str, values: Any) -> str:
    """A number for each chain, or one for all where they are the same."""
    numbers = np.ravel(values)
    texts = [format(number, FORMATS.get(name, "d")) for number in numbers.tolist()]
    if len(set(texts)) == 1:
        return texts[0]
    if len(texts) <= MOST_CHAINS:
        return " ".join(texts)
    return f"{texts[int(np.argmin(numbers))]} to {texts[int(np.argmax(numbers))]}"
