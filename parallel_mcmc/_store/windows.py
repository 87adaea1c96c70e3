"""The loop of a stored run: draw a window, write it while the next is drawn.

A window is drawn from the state before it alone, always in full, so that a run that was interrupted
or extended has the draws of one that was not. The last window may be stored in part.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._store.identity import plain
from parallel_mcmc._store.interruption import interruptible
from parallel_mcmc._store.store import Store, StoreError

MOST_ROWS, MOST_BYTES = 10_000, 2**25
"""Draws of a window where the user does not say: all, but at most so many, of so many bytes."""


class Window(NamedTuple):
    """A window that has been drawn.

    Attributes:
        state: of the chains after it.
        solve: with one entry per chain.
        datasets: xarray's, of its draws, by the names of ArviZ's groups. They are made where
            windows are drawn: NumPyro's handlers are not for several threads.
    """

    state: Any
    solve: SolveInfo
    datasets: dict[str, Any]


class StoredRun(NamedTuple):
    """How to make a run that is stored.

    Attributes:
        identity: what must be the same to go on, in words that name it.
        begin: the state before the first window, after a warm-up.
        like: a state like that one, with other values; called where `begin` is not.
        draw: ``(state, window) -> Window``, of the rows of a window.
        tell: called with the number of draws that are stored.
    """

    identity: dict[str, Any]
    begin: Callable[[], Any]
    like: Callable[[], Any]
    draw: Callable[[Any, int], Window]
    tell: Callable[[int], None]


class Stored(NamedTuple):
    """What a stored run has come to: the report on all solves, and the state after the last."""

    solve: SolveInfo
    state: Any


def rows_of_window(num_rows: int, bytes_per_row: int, window: int | None) -> int:
    """How many draws a window has, if not ``window``: equal windows, as few as there may be.

    >>> rows_of_window(15_000, 40, None), rows_of_window(1_000, 40, None)
    (7500, 1000)
    """
    if window is not None:
        return min(window, num_rows)
    most = max(1, min(MOST_ROWS, MOST_BYTES // max(bytes_per_row, 1)))
    return -(-num_rows // -(-num_rows // most))


def open_run(store: Store, identity: dict[str, Any]) -> int | None:
    """Draws of a window of the run that is stored there, or None; it must be the same run."""
    if store.is_new():
        return None
    kept = store.attributes()
    differing = [name for name, value in identity.items() if kept["identity"].get(name) != value]
    if differing:
        raise StoreError(
            f"The run in {store.path} has another {' and another '.join(differing)}; give another "
            "path, or the arguments it was begun with."
        )
    return kept["rows"]


def draw_in_windows(store: Store, run: StoredRun, num_rows: int, rows: int) -> Stored:
    """Draw what is missing of ``num_rows`` draws, in windows of ``rows``; ``store`` is open.

    Raises:
        StoreError: if more draws are there than are asked for.
        OSError: if a window cannot be written; those before it are there.
    """
    num_windows = -(-num_rows // rows)
    if store.is_new():
        state, done = run.begin(), 0
        attributes = {"identity": run.identity, "rows": rows}
        writing(store, 0, lambda: store.begin(attributes, leaves(state)))
    else:
        there = store.num_draws()
        if there > num_rows:
            raise StoreError(
                f"{store.path} has {there:,} draws of each chain, more than the {num_rows:,} asked "
                "for; ask for at least as many, or read it with pm.open_store."
            )
        # A window that is stored in part is drawn once more, if more of it is wanted.
        complete = num_windows if there == num_rows else there // rows
        done = min(store.num_intact(rows), complete)
        state = restored(store, done, run.like())
    run.tell(min(done * rows, num_rows))

    def write(window: int, drawn: Window) -> None:
        end = min((window + 1) * rows, num_rows)
        datasets = {
            name: placed(dataset, window * rows, end) for name, dataset in drawn.datasets.items()
        }
        store.append(window, rows, datasets, leaves(drawn.state), by_chain(drawn.solve))
        run.tell(end)

    written: Future | None = None
    with interruptible() as interrupted, ThreadPoolExecutor(1) as writer:
        for window in range(done, num_windows):
            drawn = run.draw(state, window)
            if written is not None:
                writing(store, window - 1, written.result)
            written = writer.submit(write, window, drawn)
            state = drawn.state
            if interrupted():
                break
        if written is not None:
            writing(store, window, written.result)
    solve, draws = combined(store.report(), rows), store.num_draws()
    if draws < num_rows:
        warnings.warn(
            f"Interrupted after {draws:,} of {num_rows:,} draws, which are in {store.path}; the "
            "same call goes on from there.",
            stacklevel=3,
        )
    return Stored(solve, state)


def writing(store: Store, window: int, write: Callable[[], None]) -> None:
    """Say what is there where a window cannot be written."""
    try:
        write()
    except OSError as error:
        raise OSError(
            error.errno,
            f"window {window} could not be written to {store.path} ({error.strerror or error}); "
            "those before it are there: make room, and the same call goes on from there",
        ) from error


def placed(dataset: Any, begin: int, end: int) -> Any:
    """The draws of a window up to ``end``, under their numbers in the run."""
    if "draw" not in dataset.dims:
        return dataset
    dataset = dataset.isel(draw=slice(0, end - begin))
    return dataset.assign_coords(draw=np.arange(begin, end))


def leaves(state: Any) -> list[np.ndarray]:
    return [plain(leaf) for leaf in jax.tree.leaves(state)]


def restored(store: Store, window: int, like: Any) -> Any:
    """The state before a window, in the structure of another one."""
    found, structure = store.state(window), jax.tree.structure(like)
    templates = jax.tree.leaves(like)
    shapes = [(leaf.shape, leaf.dtype) for leaf in map(plain, templates)]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in found]:
        raise StoreError(
            f"The chains' state in {store.path} is of another kernel or version; give another path."
        )
    return jax.tree.unflatten(structure, map(as_kind_of, templates, found))


def as_kind_of(template: Any, leaf: np.ndarray) -> Any:
    if isinstance(template, jax.Array) and jax.dtypes.issubdtype(
        template.dtype, jax.dtypes.prng_key
    ):
        return jax.random.wrap_key_data(jax.numpy.asarray(leaf), impl=jax.random.key_impl(template))
    return jax.numpy.asarray(leaf)


def by_chain(solve: SolveInfo) -> dict[str, np.ndarray]:
    return {name: np.atleast_1d(value) for name, value in solve._asdict().items()}


def combined(report: dict[str, np.ndarray], rows: int) -> SolveInfo:
    """One report on several solves, one after the other, of ``(windows, chains)``."""
    by_field = {
        name: report[name].max(0) if name in ("status", "residual") else report[name].sum(0)
        for name in SolveInfo._fields
    }
    whole = np.cumprod(report["frontier"] == rows, axis=0)
    reached = np.concatenate([np.ones_like(whole[:1]), whole[:-1]])
    by_field["frontier"] = (report["frontier"] * reached).sum(axis=0)
    return SolveInfo(**by_field)
