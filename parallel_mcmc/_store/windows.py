"""The loop of a stored run: draw a window, write it while the next is drawn.

A window is drawn only from the state before it, and windows are equally long however many draws are
asked for. So a run that was interrupted or extended has the draws of one that was not. If only a
part of the last window was drawn and more of it is wanted, it is drawn again as a whole.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._store.identity import plain
from parallel_mcmc._store.interruption import in_windows, interruptible
from parallel_mcmc._store.store import Store, StoreError

MOST_ROWS, MOST_BYTES = 10_000, 2**24
"""Draws of a window, of all chains, where the user does not say."""


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
        rows: draws of a window.
        begin: the state before the first window, after a warm-up.
        like: a state like that one, with other values; called where `begin` is not.
        choose: given the state before the first window, chooses how windows are drawn.
        draw: ``(state, window, rows) -> Window``, of as many draws.
        attributes: of ArviZ's groups, given the report on all solves and the state at the end.
        tell: called with the number of draws that are stored.
    """

    identity: dict[str, Any]
    rows: int
    begin: Callable[[], Any]
    like: Callable[[], Any]
    choose: Callable[[Any], None]
    draw: Callable[[Any, int, int], Window]
    attributes: Callable[[SolveInfo, Any], dict[str, Any]]
    tell: Callable[[int], None]


class Stored(NamedTuple):
    """What a stored run has come to: its draws, the report on all solves, the state at the end."""

    num_draws: int
    solve: SolveInfo
    state: Any


def rows_of(store: Store, identity: dict[str, Any], bytes_per_row: int, window: int | None) -> int:
    """Draws of a window: of the run that is stored there, which must be the same, or of a new one.

    Raises:
        StoreError: if it is another run.
    """
    if store.is_new():
        return window or max(1, min(MOST_ROWS, MOST_BYTES // max(bytes_per_row, 1)))
    kept = store.attributes()
    differing = [name for name, value in identity.items() if kept["identity"].get(name) != value]
    if differing:
        raise StoreError(
            f"The run in {store.path} has another {' and another '.join(differing)}; give another "
            "path, or the arguments it was begun with."
        )
    return kept["rows"]


def check_names(names: Any) -> None:
    """Raise before anything long starts."""
    for name in names:
        if "/" in name:
            raise ValueError(
                f"A store cannot hold {name!r}, as zarr takes what is before a slash for a folder; "
                "give it another name."
            )


def draw_in_windows(store: Store, run: StoredRun, num_draws: int) -> Stored:
    """Draw what is missing of ``num_draws`` of each chain; the store is open.

    Raises:
        StoreError: if more draws are there than are asked for, or the start is damaged.
        OSError: if a window cannot be written; those before it are there.
    """
    if store.is_new():
        first = state = run.begin()
        done = there = 0
        attributes = {"identity": run.identity, "rows": run.rows}
        writing(store, "the start", lambda: store.begin(attributes, leaves(state)))
    else:
        there = store.num_draws()
        if there > num_draws:
            raise StoreError(
                f"{store.path} has {there:,} draws of each chain, more than the {num_draws:,} "
                "asked for; ask for at least as many, or read it with pm.open_store."
            )
        complete = -(-there // run.rows) if there == num_draws else there // run.rows
        done, like = store.num_intact(complete), run.like()
        first, state = restored(store, 0, like), restored(store, done, like)
    run.choose(first)
    run.tell(min(done * run.rows, num_draws))

    def write(window: int, drawn: Window, end: int) -> None:
        datasets = {
            name: numbered(dataset, window * run.rows) for name, dataset in drawn.datasets.items()
        }
        store.append(window, run.rows, datasets, leaves(drawn.state), by_chain(drawn.solve))
        run.tell(end)

    written: Future | None = None
    with interruptible() as interrupted, ThreadPoolExecutor(1) as writer:
        windows = in_windows(run.draw, state, done, run.rows, num_draws, interrupted)
        for window, end, drawn in windows:
            if written is not None:
                writing(store, f"window {window - 1}", written.result)
            written = writer.submit(write, window, drawn, end)
            state = drawn.state
        if written is not None:
            writing(store, f"window {window}", written.result)
            there = end
        solve = combined(store.report(), run.rows)
        if written is not None:
            described = run.attributes(solve, state)
            writing(store, "the report", lambda: store.describe(described))
        if there < num_draws:
            warnings.warn(
                f"Interrupted after {there:,} of {num_draws:,} draws, which are in {store.path}; "
                "the same call goes on from there.",
                stacklevel=3,
            )
    return Stored(there, solve, state)


def writing(store: Store, what: str, write: Callable[[], None]) -> None:
    """Say what is there where something cannot be written."""
    try:
        write()
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} could not be written to {store.path} ({error.strerror or error}); what was "
            "written before is there: make room, and the same call goes on from there",
        ) from error


def numbered(dataset: Any, begin: int) -> Any:
    """The draws of a window under their numbers in the run."""
    if "draw" not in dataset.dims:
        return dataset
    return dataset.assign_coords(draw=begin + np.arange(dataset.sizes["draw"]))


def leaves(state: Any) -> list[np.ndarray]:
    return [plain(leaf) for leaf in jax.tree.leaves(state)]


def restored(store: Store, window: int, like: Any) -> Any:
    """The state before a window, in the structure of another one."""
    found, structure = store.state(window), jax.tree.structure(like)
    templates = jax.tree.leaves(like)
    shapes = [(leaf.shape, leaf.dtype) for leaf in map(plain, templates)]
    if shapes != [(np.shape(leaf), leaf.dtype) for leaf in found]:
        raise StoreError(
            f"The chains' state in {store.path} is of another kernel or version; give another path."
        )
    return jax.tree.unflatten(structure, map(as_kind_of, templates, found))


def as_kind_of(template: Any, leaf: Any) -> Any:
    array = jax.numpy.asarray(leaf)
    if jax.dtypes.issubdtype(jax.numpy.result_type(template), jax.dtypes.prng_key):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(template))
    return array


def by_chain(solve: SolveInfo) -> dict[str, np.ndarray]:
    return {name: np.atleast_1d(value) for name, value in solve._asdict().items()}


def report_on(solves: list[list[SolveInfo]], rows: int, like: SolveInfo) -> SolveInfo:
    """On windows of ``rows`` draws, each of chains or batches of them, in arrays like ``like``."""
    found = jax.device_get(solves)
    report = {
        name: np.array([[getattr(solve, name) for solve in of_window] for of_window in found])
        for name in SolveInfo._fields
    }
    by_chain = {name: values.reshape(len(solves), -1) for name, values in report.items()}
    return jax.tree.map(
        lambda value, like: jax.device_put(value.reshape(like.shape).astype(like.dtype)),
        combined(by_chain, rows), like,
    )  # fmt: skip


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
