"""Ctrl-C and SIGTERM between windows: the window that is being solved is finished and stored."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """A function that says whether one of the two has come; a second one acts at once.

    At the end a SIGTERM that has come is raised once more, for whoever handled it before: by
    default it ends the process. A signal that is ignored stays ignored. Python delivers signals to
    the main thread: in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
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
