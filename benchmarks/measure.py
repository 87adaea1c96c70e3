"""What the suites have in common: programs compiled and timed in turn, and parts of a record."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.records import Record
from parallel_mcmc import SolveInfo, Solver, Status


class Options(NamedTuple):
    """What the command line sets.

    Attributes:
        suite: a name in `__main__.SUITES`.
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


class Program(NamedTuple):
    """A compiled function, the seconds that took, and the bytes planned (None if unknown)."""

    run: Callable[..., Any]
    compile_seconds: float
    num_bytes: int | None


def compile_for(function: Callable, *arguments: Any) -> Program:
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(compiled, time.perf_counter() - begin, planned_bytes(compiled))


def planned_bytes(compiled: Any) -> int | None:
    """Temporary buffers and outputs; the arguments come on top and are the same for all."""
    memory = compiled.memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes


def in_turn(programs: Sequence[Callable[[], Any]], options: Options) -> list[list[float]]:
    """Seconds of each program, run alternately, so that other load on the machine meets all alike.

    Stops after ``repeats`` rounds, or after the round in which ``max_seconds`` are spent.
    """
    seconds: list[list[float]] = [[] for _ in programs]
    end = time.perf_counter() + options.max_seconds
    for _ in range(options.repeats):
        for program, spent in zip(programs, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(program())
            spent.append(time.perf_counter() - begin)
        if time.perf_counter() > end:
            break
    return seconds


def spreads(names: Sequence[str], times: Sequence[list[float]]) -> Record:
    """Median, least and most of each of several programs; names beyond the times have none."""
    found: Record = {"repeats": len(times[0])}
    for name, seconds in zip(names, times, strict=False):
        found |= {
            name: statistics.median(seconds),
            f"{name}_min": min(seconds),
            f"{name}_max": max(seconds),
        }
    return found


def header(
    options: Options, target: str, kernel: str, T: int, solver: str, **others: Any
) -> Record:
    """What a record is known by, in the precision of the moment; others come besides."""
    return {
        "suite": options.suite,
        "target": target,
        "kernel": kernel,
        "T": T,
        "chains": 1,
        "solver": solver,
        "window": None,
        "dtype": "float64" if jax.config.read("jax_enable_x64") else "float32",
        "seed": options.seed,
        **others,
    }


def of_solve(info: SolveInfo) -> Record:
    """A report, of the worst chain."""
    return {
        "iterations": int(np.max(info.num_iterations)),
        "residual": float(np.max(info.residual)),
        "status": Status(int(np.max(info.status))).name,
        "num_sequential_steps": int(np.max(info.num_sequential_steps)),
        "num_frontier_steps": int(np.max(info.num_frontier_steps)),
        "num_limited": int(np.sum(info.num_limited)),
        "num_resets": int(np.sum(info.num_resets)),
        "num_ties": int(np.sum(info.num_ties)),
        "num_trembling": int(np.sum(info.num_trembling)),
    }
