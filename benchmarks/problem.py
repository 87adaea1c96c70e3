"""What a row of a table runs: a kernel on a target, at some lengths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import parallel_mcmc as pm
from parallel_mcmc import targets


class Problem(NamedTuple):
    """A kernel with its target, and ``rng_key -> position`` for where a chain starts."""

    transition: pm.Transition
    start: Callable[[Any], Any]


class Example(NamedTuple):
    """One row of a table.

    Attributes:
        target, kernel: for the record.
        lengths: the T to run.
        aims: iterations to stay within, by T.
        build: ``(path of the data) -> Problem``; raises `FileNotFoundError` where it needs
            data that are not there.
        chains: run at once.
        window: steps solved together, all by default.
        gradients: of the log density, per step of a chain.
    """

    target: str
    kernel: str
    lengths: tuple[int, ...]
    aims: dict[int, int]
    build: Callable[[Path], Problem]
    chains: int = 1
    window: int | None = None
    gradients: int = 1


def credit_target(data: Path) -> targets.Target:
    if not data.is_file():
        raise FileNotFoundError(f"the German credit data are not at {data}; give --data")
    return targets.german_credit(data)
