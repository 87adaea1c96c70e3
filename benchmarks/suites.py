"""The suites, each of parts that fill a table: which module has their rows."""

import importlib
from collections.abc import Iterator

from benchmarks.measure import Options, run_rows
from benchmarks.records import Record

SUITES: dict[str, dict[str, tuple[str, str]]] = {
    "paper": {
        "paper": ("chains", "every experiment of arXiv:2508.18413"),
        "examples": ("chains", "four of them by every solver, with its iterations as aims"),
        "defaults": ("chains", "chains of 4,096 steps, and the iterations aimed at"),
        "reference": ("reference", "the four by the paper's own code, beside ours"),
    },
    "hard": {
        "hard": ("chains", "hard targets, four kernels, every solver and `auto`"),
        "auto": ("chains", "what `auto` costs on this device beside the loop"),
        "blackjax": ("chains", "BlackJAX's kernels with every solver"),
        "sweep": ("sweep", "iterations against the Lyapunov exponent"),
    },
    "scaling": {
        "scaling": ("scaling", "time and memory against T, D, chains and rows of data"),
        "memory": ("memory", "the memory that a million steps are planned in"),
        "devices": ("devices", "memory of a chain over several devices"),
        "stored": ("stored", "memory of runs with a store, and seconds a window"),
        "trajectories": ("trajectories", "HMC trajectories by their number of leapfrog steps"),
    },
    "peers": {
        "peers": ("peers", "what effective draws cost beside NumPyro and BlackJAX"),
        "swap": ("swap", "NumPyro's HMC and ParallelHMC, per draw"),
    },
    "posteriors": {
        "posteriors": ("posteriors", "real models: right, and in how many gradients in turn"),
        "warmups": ("warmups", "critical path of a warm-up, in parallel and not"),
        "bias": ("bias", "gradients from cold to a small error of second moments"),
    },
    "programs": {
        "programs": ("programs", "what programs cost on a GPU that need not be there"),
        "sharded": ("devices", "the same of a chain over four of them"),
        "widths": ("widths", "how long evaluations at all steps take, beside a step"),
    },
    "torture": {
        "torture": ("torture", "recursions that look at the last bit of their state"),
        "constants": ("constants", "iterations with the numbers of the solve changed"),
    },
}
PARTS = [part for parts in SUITES.values() for part in parts]


def run(options: Options, part: str | None = None) -> Iterator[list[Record]]:
    """The records of a suite, or of one of its parts, as they come."""
    if part not in (None, *SUITES[options.suite]):
        raise SystemExit(f"{part} is no part of {options.suite}; see python -m benchmarks run -h")
    for name, (module, _) in SUITES[options.suite].items():
        if part in (None, name):
            rows = importlib.import_module(f"benchmarks.{module}").rows(options, name)
            yield from run_rows(name, rows, options)
