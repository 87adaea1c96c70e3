"""How a trace was solved, and how it compares with the sequential run, in sentences."""

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from parallel_mcmc._core.report import describe_failure
from parallel_mcmc._mcmc.trace import Trace


class Timed(NamedTuple):
    """A trace, the median time of a run and that of its compilation, in seconds."""

    trace: Trace
    seconds: float
    compilation: float


def timed(
    run: Callable[[], Trace], num_draws: int, num_runs: int = 3, budget: float = 10.0
) -> Timed:
    """Run once, and then again until there are enough runs or ``budget`` seconds are spent.

    Not again after a run of fewer than ``num_draws`` draws, which Ctrl-C has ended.
    """

    def clock() -> tuple[float, Trace]:
        start = time.perf_counter()
        trace = jax.block_until_ready(run())
        return time.perf_counter() - start, trace

    first, trace = clock()
    times: list[float] = []
    last = trace
    with contextlib.redirect_stderr(io.StringIO()):  # one progress bar is enough
        while draws_of(last) == num_draws and len(times) < num_runs and sum(times) < budget:
            seconds, last = clock()
            times.append(seconds)
    seconds = statistics.median(times or [first])
    return Timed(trace, seconds, max(first - seconds, 0.0))


def draws_of(trace: Trace) -> int:
    """Of each chain."""
    return jax.tree.leaves(trace.position)[0].shape[1]


def describe_solve(trace: Trace) -> Iterator[str]:
    """A line per chain, and what to try where a chain did not converge."""
    first = jax.tree.leaves(trace.position)[0]
    tol, window = trace.settings["tol"], trace.settings["window"]
    yield (
        f"Solved by {trace.settings['solver']} in {first.dtype}, {window} steps together, "
        + (f"to a residual of {tol:.0e} of the spread:" if tol else "to the last bit:")
    )
    for chain in range(len(trace.solve.status)):
        info = jax.tree.map(lambda leaf, chain=chain: leaf[chain], trace.solve)
        yield f"  chain {chain}: {info.summary(f'{first.shape[1]:,} draws')}"
    if message := describe_failure(trace.solve):
        yield f"Warning: {message}"


def compare(parallel: Timed, sequential: Timed) -> Iterator[str]:
    """How far the draws are from those of the sequential run, how long each took, and the gain."""
    position, reference = parallel.trace.position, sequential.trace.position
    difference = np.max([scaled_difference(position[k], reference[k]) for k in reference], axis=0)
    yield f"Largest difference to the sequential chain: {difference.max():.1e} posterior sd"
    if differing := np.sum(~(difference < 1e-2)):
        yield (
            f"{differing} of {difference.size} draws differ by more than 0.01: rounding tipped an "
            "accept decision, or grew along the chain. Try --float64."
        )
    yield (
        f"Sequential run {sequential.seconds:.3g} s (compilation {sequential.compilation:.2g} s), "
        f"parallel run {parallel.seconds:.3g} s (compilation {parallel.compilation:.2g} s), on "
        f"{jax.devices()[0].device_kind}"
    )
    ratio = parallel.seconds / sequential.seconds
    if ratio > 1:
        yield f"Here the sequential run is {ratio:.1f} times as fast: it does less work in all."
    else:
        yield f"Here the parallel run is {1 / ratio:.1f} times as fast."
    steps = jax.tree.leaves(position)[0].shape[1]
    made = evaluations_in_turn(parallel.trace)
    instead = f"one after the other, in place of {steps:,}"
    yield f"What an accelerator waits for: some {made:,} evaluations of the kernel {instead}."


def evaluations_in_turn(trace: Trace) -> int:
    """Of a step, by the slowest chain; a product with its Jacobian counts two."""
    return int(np.max(trace.solve.num_in_turn + trace.solve.num_sequential_steps))


def scaled_difference(
    x: Float[Array | np.ndarray, "chains T ..."], reference: Array | np.ndarray
) -> np.ndarray:
    """The largest difference of each draw, in units of the reference's standard deviation."""
    sd = np.std(reference, axis=(0, 1))
    difference = np.abs(np.asarray(x) - reference) / np.where(sd > 0, sd, 1)
    return difference.reshape(*x.shape[:2], -1).max(-1)
