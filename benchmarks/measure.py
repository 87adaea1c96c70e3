"""What the suites have in common: rows, and programs that are compiled and timed in turn."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.records import Record
from parallel_mcmc import SolveInfo, Solver, Status


class Row(NamedTuple):
    """What a record is known by, and how it is measured.

    Attributes:
        measure: gives what else a record says, or several records of programs timed in turn; raises
            `FileNotFoundError` or `ImportError` where data or a library are missing.
        only: what ``--only`` is held against; target/kernel/T/solver by default.
    """

    target: str
    kernel: str
    T: int
    solver: str
    measure: Callable[[], Record | list[Record]]
    only: str = ""

    @property
    def name(self) -> str:
        return self.only or f"{self.target}/{self.kernel}/{self.T}/{self.solver}"


class Options(NamedTuple):
    """What the command line sets.

    Attributes:
        suite: a name in `suites.SUITES`.
        only: parts of row names; a row runs if its name holds one of them. Empty runs all.
        data: path of the German credit data.
        seed: of start and randomness.
        repeats: timed runs of each program.
        max_seconds: no further timed run of a row once they have taken this long.
        max_iterations: of a solve, then it is finished step by step; some suites have their own.
        reference: folder of the code of arXiv:2508.18413, if it is there.
    """

    suite: str
    only: tuple[str, ...]
    data: Path
    seed: int
    repeats: int
    max_seconds: float
    max_iterations: int
    reference: Path | None = None

    def selected(self, name: str) -> bool:
        return not self.only or any(part in name for part in self.only)

    def limited(self, solver: Solver) -> Solver:
        return dataclasses.replace(solver, max_iterations=self.max_iterations)


def run_rows(part: str, rows: Iterable[Row], options: Options) -> Iterator[list[Record]]:
    """The records of the rows that are selected, in the precision of the moment."""
    for row in rows:
        if not options.selected(row.name):
            continue
        try:
            found = row.measure()
        except (FileNotFoundError, ImportError) as error:
            print(f"{row.name}: skipped, {error}", flush=True)
            continue
        common = {
            "suite": options.suite, "part": part, "target": row.target, "kernel": row.kernel,
            "T": row.T, "chains": 1, "solver": row.solver, "window": None,
            "dtype": "float64" if jax.config.read("jax_enable_x64") else "float32",
            "seed": options.seed,
        }  # fmt: skip
        yield [common | record for record in (found if isinstance(found, list) else [found])]


class Program(NamedTuple):
    """A compiled function with its arguments, and the seconds that took."""

    compiled: Any
    arguments: tuple
    compile_seconds: float

    def __call__(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.arguments))

    @property
    def num_bytes(self) -> int | None:
        """Temporary buffers and outputs, if known; arguments come on top, the same for all."""
        memory = self.compiled.memory_analysis()
        return None if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes


def compile_for(function: Callable, *arguments: Any) -> Program:
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(compiled, arguments, time.perf_counter() - begin)


def measure(programs: dict[str, Program], options: Options) -> Record:
    """What programs cost, by the ends of the names, timed in turn."""
    times = in_turn(list(programs.values()), options)
    found: Record = {}
    for (end, program), seconds in zip(programs.items(), times, strict=True):
        found |= cost(program, seconds, end)
    return found


def cost(program: Program, seconds: list[float], end: str = "") -> Record:
    """Seconds of runs and of compilation, and bytes."""
    return {
        **spread(f"seconds{end}", seconds),
        f"compile_seconds{end}": program.compile_seconds,
        f"bytes{end}": program.num_bytes,
    }


def timed(functions: dict[str, Callable[[], Any]], options: Options) -> Record:
    """Seconds by name, of functions that are run in turn."""
    found: Record = {}
    for name, seconds in zip(functions, in_turn(list(functions.values()), options), strict=True):
        found |= spread(name, seconds)
    return found


def spread(name: str, seconds: list[float]) -> Record:
    """Median, least and most."""
    low, high = min(seconds), max(seconds)
    middle = statistics.median(seconds)
    return {"repeats": len(seconds), name: middle, f"{name}_min": low, f"{name}_max": high}


def in_turn(functions: Sequence[Callable[[], Any]], options: Options) -> list[list[float]]:
    """Seconds of each, run alternately, so that other load on the machine meets all alike.

    Stops after ``repeats`` rounds, or after the round in which ``max_seconds`` are spent.
    """
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + options.max_seconds
    for _ in range(options.repeats):
        for function, seconds in zip(functions, times, strict=True):
            seconds.append(seconds_of(function)[0])
        if time.perf_counter() > end:
            break
    return times


def seconds_of(function: Callable[[], Any]) -> tuple[float, Any]:
    """Of one call, with its result."""
    begin = time.perf_counter()
    result = jax.block_until_ready(function())
    return time.perf_counter() - begin, result


def in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def of_solve(info: SolveInfo) -> Record:
    """A report, of the worst chain."""
    sums = "num_limited", "num_resets", "num_ties", "num_trembling"
    return {
        "iterations": int(np.max(info.num_iterations)),
        "residual": float(np.max(info.residual)),
        "status": Status(int(np.max(info.status))).name,
        "num_sequential_steps": int(np.max(info.num_sequential_steps)),
        **{name: int(np.sum(getattr(info, name))) for name in sums},
    }
