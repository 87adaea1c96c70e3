"""What is kept beside a store, so that the command that goes on does not compute it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np


def kept(path: Path | None, made_of: str, like: Any, make: Callable[[], Any]) -> Any:
    """A tree of arrays, numbers and words, made now or when it was kept.

    Args:
        path: of the file, which appears in one rename; None keeps nothing.
        made_of: what the values depend on; those of anything else are made anew.
        like: a tree of the same structure.
        make: makes the values.
    """
    if path is None:
        return make()
    num_leaves = len(jax.tree.leaves(like))
    if path.exists():
        with np.load(path) as file:
            first, *leaves = (file[f"arr_{i}"] for i in range(1 + num_leaves))
        if str(first) == made_of:
            return jax.tree.unflatten(jax.tree.structure(like), leaves)
    found = make()
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as written:
        np.savez(written, np.asarray(made_of), *map(np.asarray, jax.tree.leaves(found)))
    part.replace(path)
    return found
