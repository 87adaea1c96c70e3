"""Time and memory of a solve against T, unknowns, chains and rows of data, one at a time.

MALA on a logistic regression with quasi-DEER. What an iteration does is also timed apart, the
evaluation of f with its derivative and the linear recurrence, beside a floor: what the bytes that
must be read and written, and the operations, take at the rates that the device reaches in the run.
The evaluation is timed a second time with all steps at once, as it was before `time_blocks`.
"""

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.chains import compared, over, prepare
from benchmarks.measure import Options, Row, compile_for, measure, of_solve, timed
from benchmarks.problem import Problem, solving, starting_at
from benchmarks.records import Record
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
LABELS = {"T": "steps", "D": "unknowns", "chains": "chains", "rows": "rows of data"}
SOLVER = pm.quasi_deer()
MOST_AT_ONCE = 2**30
"""Bytes of logits up to which all steps are also evaluated at once."""


def rows(options: Options, part: str) -> Iterator[Row]:
    for axis, values in AXES.items():
        for value in values:
            size, target = Size(**{axis: value}), f"logistic regression, {axis} = {value:,}"
            measure = partial(measured, axis, size, options)
            yield Row(target, "MALA", size.T, SOLVER.name, measure, only=f"{axis}/{value}")


class Rates(NamedTuple):
    """What the device reaches.

    Attributes:
        copy_bytes_per_second: read and written by an addition to 256 MB of numbers.
        matmul_flops_per_second: of a product of two matrices at full float32 precision.
    """

    copy_bytes_per_second: float
    matmul_flops_per_second: float


@functools.cache
def rates(options: Options, size: int = 1 << 26, n: int = 2_048) -> Rates:
    def least(function, x):
        program = compile_for(function, x)
        program()
        return timed({"seconds": program}, options)["seconds_min"]

    copying = least(lambda x: x + 1, jnp.zeros(size, jnp.float32))
    product = least(lambda x: jnp.matmul(x, x, precision="highest"), jnp.ones((n, n), jnp.float32))
    return Rates(2 * 4 * size / copying, 2 * n**3 / product)


def regression(size: Size) -> Problem:
    """The features are scaled so that logits are of order one."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((size.rows, size.D)) / size.D**0.5
    signs = np.where(rng.random(size.rows) < 1 / (1 + np.exp(-X.sum(axis=1))), 1, -1)
    signed = jnp.asarray(X * signs[:, None], jnp.float32)

    def logdensity_fn(beta):
        return jnp.sum(jax.nn.log_sigmoid(signed @ beta)) - jnp.sum(beta**2) / 2

    step_size = 0.6 / (1 + size.rows / (4 * size.D)) / size.D ** (1 / 3)
    return starting_at(pm.mala(logdensity_fn, step_size), jnp.ones(size.D, jnp.float32))


def measured(axis: str, size: Size, options: Options) -> Record:
    ceilings, chains, key = rates(options), size.chains, jax.random.key(options.seed)
    case = prepare(regression(size), size.T, chains, options.seed)
    transition, state, inputs, x = case.problem.transition, case.state, case.inputs, case.reference

    def evaluate(x, inputs):
        return SOLVER.linearize(recursion(transition), x, inputs, key)

    solve = over(chains, solving(transition, options.limited(SOLVER)))
    program = compile_for(solve, state, inputs)
    history, info = program()
    evaluation = compile_for(over(chains, evaluate), x, inputs)
    with mock.patch.object(time_blocks, "block_length", lambda T, *_: T):
        # Not the function itself, of which JAX keeps the traced program with the blocks.
        at_once = compile_for(over(chains, lambda x, inputs: evaluate(x, inputs)), x, inputs)
    f_values, A = evaluation()
    scan = compile_for(over(chains, affine_scan), A, f_values)
    programs = {
        "_sequential": case.loop, "": program, "_evaluation": evaluation, "_scan": scan,
        "_evaluation_at_once": at_once,
    }  # fmt: skip
    if 4 * size.T * chains * size.rows > MOST_AT_ONCE:
        del programs["_evaluation_at_once"]
    return {
        "axis": axis,
        **size._asdict(),
        **ceilings._asdict(),
        **of_solve(info),
        **compared(case, history),
        **measure(programs, options),
        # XLA counts the operations of a loop's body once, so that of the program without blocks.
        "floor_evaluation": floor(at_once.compiled, ceilings),
        "floor_scan": floor(scan.compiled, ceilings),
        "bytes_evaluation_at_once": at_once.num_bytes,
    }


def floor(compiled: Any, ceilings: Rates) -> float:
    """Least seconds: arguments read and results written once, and the operations counted by XLA."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    num_bytes = memory.argument_size_in_bytes + memory.output_size_in_bytes
    seconds = num_bytes / ceilings.copy_bytes_per_second
    return max(seconds, cost.get("flops", 0.0) / ceilings.matmul_flops_per_second)


MILLISECONDS = {
    "solve": lambda r: 1e3 * r["seconds"] / r["iterations"],
    "evaluation": lambda r: 1e3 * r["seconds_evaluation"],
    "at once": lambda r: 1e3 * r.get("seconds_evaluation_at_once", np.nan),
    "its floor": lambda r: 1e3 * r.get("floor_evaluation", np.nan),
    "scan": lambda r: 1e3 * r["seconds_scan"],
    "floor of the scan": lambda r: 1e3 * r["floor_scan"],
    "sequential loop": lambda r: 1e3 * r["seconds_sequential"],
}
"""Of an iteration and its parts."""


def draw_figure(records: list[Record], path: Path) -> None:
    """Milliseconds of an iteration and its parts over each size, a panel per size."""
    from matplotlib.figure import Figure

    figure, drawn = Figure(figsize=(8, 6), layout="constrained"), list(MILLISECONDS)[:-1]
    for panel, (axis, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        rows = sorted((r for r in records if r["axis"] == axis), key=lambda r: r[axis])
        if not rows:
            panel.set_axis_off()
            continue
        for name in drawn:
            line = "--" if "floor" in name else "-"
            times = np.array([MILLISECONDS[name](r) for r in rows])
            panel.plot([r[axis] for r in rows], times, line, marker=".", label=name)
        panel.set(xlabel=label, xscale="log", yscale="log")
    lines = next(panel.get_lines() for panel in figure.axes if panel.axison)
    figure.legend(handles=lines, loc="outside upper center", ncols=len(drawn), fontsize="small")
    figure.supylabel("milliseconds of an iteration and of its parts")
    figure.savefig(path, dpi=120)
