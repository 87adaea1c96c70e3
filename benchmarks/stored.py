"""Runs with a store: memory, and seconds a window beside the same window without one.

The most memory that a process had counts what ran in it before: run rows one by one, by --only.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks.measure import Options, Row, seconds_of, spread
from benchmarks.records import Record

LENGTHS = 10_000, 100_000, 1_000_000
D = 1_000
NUM_WINDOWS = 30


def rows(options: Options, part: str) -> Iterator[Row]:
    for T in LENGTHS:
        yield Row(f"normal, D = {D}", "random walk", T, "sequential", partial(memory, T))
    for num_steps in (5, 2_000):
        kernel = f"HMC, {num_steps} leapfrog steps"
        measure = partial(beside, num_steps, options)
        yield Row("normal, D = 200", kernel, NUM_WINDOWS * 3_000, "sequential", measure)


def memory(T: int) -> Record:
    """A run of so many draws."""
    kernel = pm.random_walk(lambda x: -jnp.sum(x**2) / 2, 2.38 / D**0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        run = partial(
            pm.sample, jax.random.key(0), kernel, jnp.zeros(D), T, solver=pm.sequential(),
            store=path,
        )  # fmt: skip
        begin = time.perf_counter()
        trace = run()
        seconds = time.perf_counter() - begin
        num_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {
        "D": D,
        "window": trace.settings["window"],
        "seconds": seconds,
        "bytes_of_draws": T * D * 4,
        "bytes_of_store": num_bytes,
        "bytes_of_process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def beside(num_integration_steps: int, options: Options) -> Record:
    """Seconds of a window, alone and as one of thirty in a store, in turn.

    What a run begins with, the program of its step to compare and the store to open, is shared.
    """
    kernel = pm.hmc(
        lambda x: -jnp.sum(x**2) / 2, 6 / num_integration_steps, None, num_integration_steps
    )
    draw = partial(pm.sample, jax.random.key(0), kernel, jnp.zeros(200), solver=pm.sequential())
    window = 3_000
    alone, stored = [], []
    for _ in range(1 + options.repeats):  # the first compiles
        found = [seconds_of(lambda: draw(window).position)[0] for _ in range(5)]
        alone.append(statistics.median(found))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.zarr"
            draw(window, window=window, store=path)
            begin = time.perf_counter()
            draw((NUM_WINDOWS + 1) * window, store=path)
            stored.append((time.perf_counter() - begin) / NUM_WINDOWS)
    return {
        "D": 200,
        "window": window,
        **spread("seconds_alone", alone[1:]),
        **spread("seconds_stored", stored[1:]),
    }
