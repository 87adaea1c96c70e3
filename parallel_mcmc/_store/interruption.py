"""Ctrl-C and SIGTERM between windows: the window that is being solved is finished and kept."""

import contextlib
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

MOST_WINDOWS, FEWEST_ROWS, FEWEST_SHOWN = 20, 200, 25
"""Of a run in memory whose chains are made step by step: most windows, and fewest draws of one,
without and with a progress bar. A window costs half a millisecond besides, a few percent of the
quickest runs where it has 200 draws; with a bar each moves it."""


def equally_long(num_rows: int, shown: bool) -> int:
    """Draws of each window of a run in memory, all equally long, as each length is a program."""
    most = min(MOST_WINDOWS, num_rows // (FEWEST_SHOWN if shown else FEWEST_ROWS))
    number = max((n for n in range(1, most + 1) if num_rows % n == 0), default=1)
    return num_rows // number


def in_windows(
    draw: Callable[[Any, int, int], Any],
    state: Any,
    begin: int,
    rows: int,
    num_rows: int,
    interrupted: Callable[[], bool],
) -> Iterator[tuple[int, int, Any]]:
    """Windows of ``rows`` draws, from number ``begin`` on, up to the last or to an interruption.

    ``draw(state, window, num_rows)`` returns what has a ``state`` to go on from. Yields the number
    of each window, how many draws there are by its end, and what was drawn.
    """
    for window in range(begin, -(-num_rows // rows)):
        end = min((window + 1) * rows, num_rows)
        drawn = draw(state, window, end - window * rows)
        state = drawn.state
        yield window, end, drawn
        if interrupted():
            return


def in_memory(
    draw: Callable[[Any, int, int], Any],
    state: Any,
    rows: int,
    num_rows: int,
    tell: Callable[[int, Any], None],
    advice: str,
    depth: int,
) -> list[Any]:
    """What `in_windows` draws, from the first window on; warns if Ctrl-C has ended it.

    ``tell`` is called after each window with the number of draws and what was drawn last. The
    warning ends with ``advice``, and points to the caller at this ``depth``.
    """
    parts: list[Any] = []
    end = 0
    with interruptible((signal.SIGINT,)) as interrupted:
        for _, end, drawn in in_windows(draw, state, 0, rows, num_rows, interrupted):
            parts.append(drawn)
            tell(end, drawn)
        was_interrupted = interrupted()
    if was_interrupted:
        there = f"Interrupted after {end:,} of {num_rows:,} draws of each chain, which are returned"
        all_there = f"Ctrl-C found all {num_rows:,} draws of each chain made; they are returned."
        warnings.warn(
            f"{there}{advice}." if end < num_rows else all_there,
            stacklevel=depth,
        )
    return parts


@contextlib.contextmanager
def interruptible(
    signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[Callable[[], bool]]:
    """A function that says whether one of these signals has come; a second one acts at once.

    At the end a SIGTERM that has come is raised once more, for whoever handled it before: by
    default it ends the process. A signal that is ignored stays ignored. Python delivers signals to
    the main thread: in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in signals}
    before = {number: how for number, how in before.items() if how not in (None, signal.SIG_IGN)}

    def restore():
        for number, how in before.items():
            signal.signal(number, how)

    def note(number, frame):
        seen.append(number)
        if len(seen) > 1:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        restore()
        if signal.SIGTERM in seen:
            signal.raise_signal(signal.SIGTERM)
