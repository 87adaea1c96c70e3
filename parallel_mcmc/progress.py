"""The bar of a run, moved from inside the solve as steps become right."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

_bar: Any = None


@contextlib.contextmanager
def showing(total: int) -> Iterator[None]:
    """A tqdm bar that `advance` moves."""
    from tqdm.auto import tqdm

    global _bar
    with tqdm(total=total, unit="draw") as bar:
        _bar, solved = (bar, {}), None
        try:
            yield
            jax.effects_barrier()
            bar.update(total - bar.n)
        finally:
            _bar = solved


def advance(chain: Any, frontier: Any) -> None:
    """Called from inside the solve: a chain has come this far."""
    if _bar is None:
        return
    bar, frontiers = _bar
    frontiers[int(chain)] = max(frontiers.get(int(chain), 0), int(frontier))
    bar.update(sum(frontiers.values()) - bar.n)
