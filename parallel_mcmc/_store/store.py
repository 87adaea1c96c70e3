"""A run in a zarr store: draws as ArviZ reads them, and what it takes to go on.

    run.zarr/
      zarr.json            the metadata of all arrays, replaced as the last act of each window
      posterior/           and other groups of ArviZ's schema, a chunk of each array for each window
      sampler_state/       a row for each window, and one before the first: the chains' states;
                           the report of each solve, and checksums of all that a window wrote

The root's metadata say how long arrays are. A window counts once these are replaced, in one rename;
whatever an unfinished one has left behind is written anew. Everything else is on the disk by then,
and the previous metadata are kept, so that a loss of power costs the last window at most.
"""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from parallel_mcmc._store.layout import (
    STATE,
    checksum,
    over_draws,
    put_row,
    state_before,
    written,
)

METADATA, BEFORE = "zarr.json", "zarr.json.before"


class StoreError(ValueError):
    """A store cannot be used for this run; nothing in it was changed."""


class Store:
    """A zarr store that one process at a time writes to.

    Use as a context: it holds a lock beside the store, which the system frees when a process ends,
    however it ends.

    Args:
        path: a folder that exists or not.

    Raises:
        StoreError: on entering, if another process writes to it, or the path is not such a store.
    """

    def __init__(self, path: str | os.PathLike):
        zarr, filelock = packages()
        self.path = Path(path)
        self._zarr = zarr
        self._lock = filelock.FileLock(f"{self.path}.lock")
        self._busy = filelock.Timeout

    def __enter__(self) -> "Store":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except self._busy as error:
            raise StoreError(
                f"Another process is writing to {self.path}; wait for it, or give another path."
            ) from error
        if self.path.exists() and not self.path.is_dir():
            self._lock.release()
            raise StoreError(f"{self.path} is a file, not a store; give another path.")
        self._recover()
        return self

    def __exit__(self, *_: Any) -> None:
        self._lock.release()

    # Reading.

    def is_new(self) -> bool:
        return not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))

    def committed(self) -> Any:
        """The store as of its last complete window.

        Raises:
            StoreError: if it cannot be read.
        """
        try:
            root = self._zarr.open_consolidated(str(self.path), mode="r")
            root[f"{STATE}/checksum"], root[STATE].attrs["rows"]
        except Exception as error:
            raise StoreError(
                f"{self.path} cannot be read as a store of parallel_mcmc ({error}); give another "
                "path, or remove it to begin anew."
            ) from error
        return root

    def attributes(self) -> dict[str, Any]:
        """What the run was begun with."""
        return dict(self.committed()[STATE].attrs)

    def state(self, window: int) -> list[np.ndarray]:
        """The leaves of the chains' states before this window."""
        return state_before(self.committed()[STATE], window)

    def report(self) -> dict[str, np.ndarray]:
        """Of the solves, ``(windows, chains)``."""
        group = self.committed()[STATE]
        return {
            name.removeprefix("solve."): array[:]
            for name, array in group.arrays()
            if name.startswith("solve.")
        }

    def num_intact(self, most: int) -> int:
        """The number of windows up to the last intact one, of the first ``most``.

        Raises:
            StoreError: if the start of the chains is damaged, too.
        """
        root = self.committed()
        rows, checksums = root[STATE].attrs["rows"], root[f"{STATE}/checksum"]
        for num_windows in range(most, -1, -1):
            try:
                found = checksum(written(root, num_windows, rows))
                if found == int(checksums[num_windows]):
                    return num_windows
            except Exception:  # zarr's codecs raise errors of many kinds
                continue
        raise StoreError(f"{self.path} is damaged from its start on; remove it to begin anew.")

    def num_draws(self) -> int:
        return next((array.shape[axis] for array, axis in over_draws(self.committed())), 0)

    def array(self, group: str, name: str) -> Any:
        """Draws on disk, ``(chains, draws, ...)``: read when they are indexed."""
        return self.committed()[f"{group}/{name}"]

    def arrays(self, group: str) -> dict[str, Any]:
        """The same of a group, by name; empty if there is no such group."""
        root = self.committed()
        if group not in root:
            return {}
        return {
            name: array
            for name, array in root[group].arrays()
            if "draw" in array.metadata.dimension_names and name != "draw"
        }

    # Writing.

    def begin(self, attributes: dict[str, Any], state: list[np.ndarray]) -> None:
        """A new store, with the state before the first window, there in one rename."""
        new = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed here
        root = self._zarr.open_group(str(new), mode="w", zarr_format=3)
        group = root.create_group(STATE, attributes=attributes)
        put_row(group, "checksum", 0, np.uint64(checksum(state)))
        for i, leaf in enumerate(state):
            put_row(group, f"state.{i}", 0, leaf)
        self._commit(new)
        new.replace(self.path)

    def append(
        self, window: int, rows: int, groups: dict[str, Any], state: list, report: dict[str, Any]
    ) -> None:
        """Write a window, with what is known after it, and count it.

        Args:
            window: its number.
            rows: draws of a full window.
            groups: xarray's datasets by the names of ArviZ's groups. Variables without a dimension
                ``draw`` are written once.
            state: leaves, after the window.
            report: of the solve, by chain.
        """
        draws = [
            groups[name][variable].values
            for name in sorted(groups)
            for variable in sorted(groups[name].variables)
            if "draw" in groups[name][variable].dims
        ]
        for name, dataset in groups.items():
            self._put_draws(name, dataset, window * rows, rows)
        root = self._zarr.open_group(str(self.path), mode="r+", use_consolidated=False)
        group = root[STATE]
        for i, leaf in enumerate(state):
            put_row(group, f"state.{i}", window + 1, leaf)
        for name, value in report.items():
            put_row(group, f"solve.{name}", window, value)
        told = [value for _, value in sorted(report.items())]
        put_row(group, "checksum", window + 1, np.uint64(checksum([*draws, *told, *state])))
        self._commit(self.path)

    def describe(self, attributes: dict[str, Any]) -> None:
        """Set attributes of all groups of draws."""
        root = self._zarr.open_group(str(self.path), mode="r+", use_consolidated=False)
        for name, _ in self.committed().groups():
            if name != STATE:
                root[name].attrs.update(attributes)
        self._commit(self.path)

    def _put_draws(self, name: str, dataset: Any, begin: int, rows: int) -> None:
        kept = {"group": name, "consolidated": False, "zarr_format": 3}
        if begin == 0:
            chunks = {
                variable: {"chunks": tuple(rows if d == "draw" else n for d, n in sizes.items())}
                for variable, sizes in ((v, dataset[v].sizes) for v in dataset.variables)
            }
            dataset.to_zarr(self.path, mode="w", encoding=chunks, **kept)
            return
        parts = dataset.drop_vars([v for v in dataset.variables if "draw" not in dataset[v].dims])
        if "draw" not in parts.dims:
            return
        end = begin + parts.sizes["draw"]
        group = self._zarr.open_group(str(self.path / name), mode="r+", use_consolidated=False)
        for array, axis in over_draws({name: group}):
            array.resize((*array.shape[:axis], end, *array.shape[axis + 1 :]))
        group["draw"][begin:end] = parts["draw"].values  # xarray writes no index into a region
        parts.to_zarr(self.path, region={"draw": slice(begin, end)}, mode="r+", **kept)

    def _commit(self, path: Path) -> None:
        metadata = path / METADATA
        shutil.copyfile(metadata, path / BEFORE)
        if hasattr(os, "sync"):
            os.sync()
        with warnings.catch_warnings():
            # Consolidated metadata are not yet part of zarr's specification.
            warnings.simplefilter("ignore", UserWarning)
            self._zarr.consolidate_metadata(str(path))

    def _recover(self) -> None:
        """If a loss of power has left no metadata, restore the previous ones."""
        metadata, before = self.path / METADATA, self.path / BEFORE
        if before.exists() and (not metadata.exists() or not is_json(metadata)):
            before.replace(metadata)


def packages() -> tuple[Any, Any]:
    try:
        import filelock
        import zarr
    except ImportError as error:
        raise ImportError(
            f"A store needs {error.name}: pip install 'parallel_mcmc[zarr]'."
        ) from error
    return zarr, filelock


def is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_bytes()), dict)
    except ValueError:
        return False
