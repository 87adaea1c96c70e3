"""Where a store keeps what: arrays over draws, and those of each window."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

STATE = "sampler_state"
"""The group of what is not for ArviZ."""


def put_row(group: Any, name: str, row: int, value: Any) -> None:
    """Write row ``row`` of an array, which becomes its last."""
    value = np.asarray(value)
    if name not in group:
        group.create_array(
            name, shape=(0, *value.shape), chunks=(1, *(max(n, 1) for n in value.shape)),
            dtype=value.dtype, dimension_names=[f"{name}.{i}" for i in range(value.ndim + 1)],
        )  # fmt: skip
    array = group[name]
    array.resize((row + 1, *array.shape[1:]))
    array[row] = value


def over_draws(root: Any) -> Iterator[tuple[Any, int]]:
    """Arrays over draws, in the order of their names, and the axis of draws."""
    groups = root.items() if isinstance(root, dict) else root.groups()
    for name, group in sorted(groups, key=lambda item: item[0]):
        if name == STATE:
            continue
        for _, array in sorted(group.arrays(), key=lambda item: item[0]):
            dims = array.metadata.dimension_names or ()
            if "draw" in dims:
                yield array, dims.index("draw")


def state_before(group: Any, window: int) -> list[np.ndarray]:
    """The leaves of the chains' states, in their order."""
    names = [name for name, _ in group.arrays() if name.startswith("state.")]
    return [group[f"state.{i}"][window] for i in range(len(names))]


def written(root: Any, num_windows: int, rows: int) -> list[np.ndarray]:
    """What the last of so many windows wrote; of none, what the start did."""
    group, window = root[STATE], num_windows - 1
    state = state_before(group, num_windows)
    if window < 0:
        return state
    part = slice(window * rows, num_windows * rows)
    draws = [array[(slice(None),) * axis + (part,)] for array, axis in over_draws(root)]
    names = sorted(name for name, _ in group.arrays() if name.startswith("solve."))
    return [*draws, *(group[name][window] for name in names), *state]


def checksum(arrays: list) -> int:
    """Of values, shapes and types; never 0, which is what a checksum that is lost reads as."""
    found = hashlib.blake2b(digest_size=8)
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.shape} {array.dtype} ".encode() + array.tobytes())
    return int.from_bytes(found.digest(), "little") or 1
