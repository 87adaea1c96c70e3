"""Every solver with every kind of kernel against the sequential chain, on this device.

A row is equal to the sequential chain; or it was told of, and finished step by step; or it differs,
and then says how close the first decision was that went the other way. A row takes a few seconds,
nearly all of them to compile, which several threads do ahead.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

import parallel_mcmc as pm
from benchmarks.compare import as_rows, differences, first_difference
from benchmarks.equality_kernels import KERNELS, SOLVERS, Chain, Kernel, combinations
from benchmarks.measure import Options, header, of_solve
from benchmarks.records import Record

TRACING = threading.Lock()
"""NumPyro's handlers are kept in one list of the process."""


class Ready(NamedTuple):
    chain: Chain
    program: Callable


class Row(NamedTuple):
    """What a row is made of, as soon as its programs are compiled."""

    kernel: Kernel
    solver: str
    dtype: str
    T: int
    solve: "Future[Ready]"
    sequential: "Future[Ready]"


def run(options: Options, most_steps: int = 1_000) -> Iterator[Record]:
    """The records, one by one; chains have ``most_steps`` at most."""
    for dtype, pairs in combinations():
        before = jax.config.read("jax_enable_x64")
        jax.config.update("jax_enable_x64", dtype == "float64")  # of all threads
        try:
            yield from of_one_precision(dtype, pairs, options, most_steps)
        finally:
            jax.config.update("jax_enable_x64", before)


def of_one_precision(
    dtype: str, pairs: list[tuple[str, str]], options: Options, most_steps: int
) -> Iterator[Record]:
    threads = max(1, min(6, (os.cpu_count() or 1) // 2))
    sequential: dict[str, Future[Ready]] = {}
    ahead: list[Row] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for name, solver in pairs:
                kernel = KERNELS[name]
                if not options.selected(f"{kernel.target}/{name}/{dtype}/{solver}/"):
                    continue
                T = min(kernel.T, most_steps)
                if name not in sequential:
                    sequential[name] = pool.submit(ready, kernel, pm.sequential(), T)
                solve = pool.submit(ready, kernel, SOLVERS[solver], T)
                ahead.append(Row(kernel, solver, dtype, T, solve, sequential[name]))
                if len(ahead) > threads:
                    yield from finished(ahead.pop(0), options)
            while ahead:
                yield from finished(ahead.pop(0), options)
        finally:  # where time is up
            for row in ahead:
                row.solve.cancel()
                row.sequential.cancel()


def ready(kernel: Kernel, solver: pm.Solver, T: int) -> Ready:
    with TRACING:
        chain = kernel.build(solver, T)
        lowered = jax.jit(chain.run).lower(*chain.arguments)
    return Ready(chain, lowered.compile())


def finished(row: Row, options: Options) -> Iterator[Record]:
    """The record, of a row that could not be run too; none, but a word, without its library."""
    record: Record = {
        **header(options, row.kernel.target, row.kernel.name, row.T, row.solver),
        "dtype": row.dtype,
    }
    try:
        record |= compared(row.solve.result(), row.sequential.result())
    except ImportError as error:
        print(f"{row.kernel.name}: skipped, {error}", flush=True)
        return
    except Exception as error:  # of whatever kind: the other rows are wanted all the same
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        record |= {"outcome": "failed", "reason": reason}
    yield record


def compared(solve: Ready, sequential: Ready) -> Record:
    positions, _ = sequential.program(*sequential.chain.arguments)
    history, info = solve.program(*solve.chain.arguments)
    found = differences(as_rows(history), as_rows(positions))
    report = of_solve(info)
    differs = found["num_steps_differ"] > 0
    told = report["status"] != pm.Status.CONVERGED.name
    return {
        "outcome": "told" if told else "differs" if differs else "equal",
        **found,
        **(first_decision(solve.chain, history, positions) if differs else {}),
        **report,
    }


def first_decision(chain: Chain, history: Any, positions: Any) -> Record:
    """Where the chains part, and how close the decision was, as far as the kernel tells."""
    if chain.transition is None:
        return {}
    rows = as_rows(history)
    return first_difference(chain.transition, *chain.arguments, rows, positions)
