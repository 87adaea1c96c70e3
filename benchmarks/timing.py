"""Compile once, run in turn: seconds and bytes of a program."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
    """A compiled function, the seconds that took, and the bytes planned (None if unknown)."""

    run: Callable[..., Any]
    compile_seconds: float
    num_bytes: int | None


def compile_for(function: Callable, *arguments: Any) -> Program:
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - begin
    return Program(compiled, seconds, planned_bytes(compiled))


def planned_bytes(compiled: Any) -> int | None:
    """Temporary buffers and outputs; the arguments come on top and are the same for all."""
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def in_turn(
    programs: Sequence[Callable[[], Any]], repeats: int, max_seconds: float
) -> list[list[float]]:
    """Seconds of each program, run alternately, so that other load on the machine meets all alike.

    Stops after ``repeats`` rounds, or after the round in which ``max_seconds`` are spent.
    """
    seconds: list[list[float]] = [[] for _ in programs]
    end = time.perf_counter() + max_seconds
    for _ in range(repeats):
        for program, spent in zip(programs, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(program())
            spent.append(time.perf_counter() - begin)
        if time.perf_counter() > end:
            break
    return seconds
