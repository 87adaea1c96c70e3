"""Time and memory of a solve against T, unknowns, chains and rows of data, one at a time.

MALA on a logistic regression with quasi-DEER. What an iteration does is also timed apart, the
evaluation of f with its derivative and the linear recurrence, beside a floor: what the bytes that
must be read and written, and the operations, take at the rates that the device reaches in the run.
The evaluation is timed a second time with all steps at once, as it was before `time_blocks`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.measure import Options, compile_for, header, in_turn, of_solve, spreads
from benchmarks.problem import Problem
from benchmarks.records import Record
from benchmarks.runs import compared, keep_position, over, prepare
from parallel_mcmc._core import time_blocks
from parallel_mcmc._core.scans import affine_scan
from parallel_mcmc._mcmc.transition import recursion


class Size(NamedTuple):
    T: int = 1_000
    D: int = 10
    chains: int = 1
    rows: int = 100


AXES = {
    "T": (1_000, 10_000, 100_000, 1_000_000),
    "D": (2, 8, 32, 128, 1_024),
    "chains": (1, 4, 16, 64),
    "rows": (100, 1_000, 10_000, 100_000, 1_000_000),
}
SOLVER = pm.quasi_deer()
MOST_AT_ONCE = 2**30
"""Bytes of logits up to which all steps are also evaluated at once."""


def run(options: Options) -> Iterator[Record]:
    """The records, one by one."""
    sizes = [(axis, Size(**{axis: value})) for axis in AXES for value in AXES[axis]]
    sizes = [pair for pair in sizes if options.selected(f"{pair[0]}/{getattr(pair[1], pair[0])}")]
    ceilings = {
        "copy_bytes_per_second": copy_rate(options),
        "matmul_flops_per_second": matmul_rate(options),
    }
    for axis, size in sizes:
        yield ceilings | run_one(axis, size, options, **ceilings)


def seconds_of(program: Callable, options: Options) -> list[float]:
    jax.block_until_ready(program())
    return in_turn([program], options)[0]


def copy_rate(options: Options, size: int = 1 << 26) -> float:
    """Bytes read and written per second by an addition to 256 MB of numbers."""
    x = jnp.zeros(size, jnp.float32)
    program = compile_for(lambda x: x + 1, x)
    return 2 * x.nbytes / min(seconds_of(lambda: program.run(x), options))


def matmul_rate(options: Options, n: int = 2_048) -> float:
    """Operations per second of a product of two matrices at full float32 precision."""
    x = jnp.ones((n, n), jnp.float32)
    program = compile_for(lambda x: jnp.matmul(x, x, precision="highest"), x)
    return 2 * n**3 / min(seconds_of(lambda: program.run(x), options))


def regression(size: Size) -> Problem:
    """The features are scaled so that logits are of order one."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((size.rows, size.D)) / size.D**0.5
    signs = np.where(rng.random(size.rows) < 1 / (1 + np.exp(-X.sum(axis=1))), 1, -1)
    signed = jnp.asarray(X * signs[:, None], jnp.float32)

    def logdensity_fn(beta):
        return jnp.sum(jax.nn.log_sigmoid(signed @ beta)) - jnp.sum(beta**2) / 2

    step_size = 0.6 / (1 + size.rows / (4 * size.D)) / size.D ** (1 / 3)
    start = jnp.ones(size.D, jnp.float32)
    return Problem(pm.mala(logdensity_fn, step_size).at(start), lambda key: start)


def run_one(axis: str, size: Size, options: Options, **ceilings: float) -> Record:
    chains, key = size.chains, jax.random.key(options.seed)
    case = prepare(regression(size), size.T, chains, options.seed)
    transition, state, inputs = case.problem.transition, case.state, case.inputs

    def solve(state, inputs):
        _, history, info = pm.run_parallel(
            transition, state, inputs, solver=options.limited(SOLVER), transform=keep_position
        )
        return history, info

    def evaluate(x, inputs):
        return SOLVER.linearize(recursion(transition), x, inputs, key)

    loop, x = case.sequential, case.reference
    program = compile_for(over(chains, solve), state, inputs)
    chain, info = jax.block_until_ready(program.run(state, inputs))
    evaluation = compile_for(over(chains, evaluate), x, inputs)
    with mock.patch.object(time_blocks, "block_length", lambda T, *_: T):
        # Not the function itself, of which JAX keeps the traced program with the blocks.
        at_once = compile_for(over(chains, lambda x, inputs: evaluate(x, inputs)), x, inputs)
    f_values, A = jax.block_until_ready(evaluation.run(x, inputs))
    scan = compile_for(over(chains, affine_scan), A, f_values)
    times = in_turn(
        [
            lambda: loop.run(state, inputs),
            lambda: program.run(state, inputs),
            lambda: evaluation.run(x, inputs),
            lambda: scan.run(A, f_values),
            *([lambda: at_once.run(x, inputs)] if fits(size) else []),
        ],
        options,
    )
    names = (
        "seconds_sequential", "seconds", "seconds_evaluation", "seconds_scan",
        "seconds_evaluation_at_once",
    )  # fmt: skip
    floors = {
        # XLA counts the operations of a loop's body once, so that of the program without blocks.
        "floor_evaluation": floor(at_once.run, ceilings),
        "floor_scan": floor(scan.run, ceilings),
    }
    return {
        **header(options, f"logistic regression, {axis} = {getattr(size, axis):,}", "MALA", 0, ""),
        **size._asdict(),
        "solver": SOLVER.name,
        "axis": axis,
        **of_solve(info),
        **compared(case, chains, chain),
        "compile_seconds": program.compile_seconds,
        **spreads(names, times),
        **floors,
        "bytes": program.num_bytes,
        "bytes_evaluation": evaluation.num_bytes,
        "bytes_evaluation_at_once": at_once.num_bytes,
        "bytes_sequential": loop.num_bytes,
    }


def fits(size: Size) -> bool:
    return 4 * size.T * size.chains * size.rows <= MOST_AT_ONCE


def floor(compiled: Any, ceilings: dict[str, float]) -> float:
    """Least seconds: arguments read and results written once, and the operations counted by XLA."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    num_bytes = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return max(
        num_bytes / ceilings["copy_bytes_per_second"],
        cost.get("flops", 0.0) / ceilings["matmul_flops_per_second"],
    )
