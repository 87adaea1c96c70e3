"""One run: a problem, a length and a solver in, a record out."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.compare import (
    accept_rate,
    as_rows,
    differences,
    first_difference,
    min_ess,
    num_wrong_steps,
)
from benchmarks.problems import Example, Problem
from benchmarks.records import Record
from benchmarks.suites import SOLVERS, SUITES, solvers_for
from benchmarks.timing import Program, compile_for, in_turn
from parallel_mcmc import Status, lyapunov_exponent, run_parallel, run_sequential
from parallel_mcmc._core.auto import choose
from parallel_mcmc._core.lyapunov import Exponent
from parallel_mcmc._mcmc.transition import attempt_once, recursion


class Options(NamedTuple):
    """What the command line sets.

    Attributes:
        suite: a name in `SUITES`.
        only: parts of row names; a row runs if its name holds one of them. Empty runs all.
        data: path of the German credit data.
        seed: of start and randomness.
        repeats: timed runs of each program.
        max_seconds: no further timed run of a row once they have taken this long.
        max_iterations: of a solve, then it is finished step by step.
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


class Case(NamedTuple):
    """Chains to compute: start, randomness, and the sequential chains that they give.

    Of several chains all have a leading axis, of one none.
    """

    problem: Problem
    state: Any
    inputs: Any
    sequential: Program
    reference: Any


def over(chains: int, function: Callable) -> Callable:
    """The function of one chain, for that many."""
    return function if chains == 1 else jax.vmap(function)


def chain_of(chains: int, tree: Any, index: int = 0) -> Any:
    return tree if chains == 1 else jax.tree.map(lambda leaf: leaf[index], tree)


def run_suite(options: Options) -> Iterator[Record]:
    """The records of a suite, one by one; examples that cannot run are skipped with a reason."""
    for example in SUITES[options.suite]:
        rows = (row_name(example, T, name) for T in example.lengths for name in SOLVERS)
        if not any(selected(row, options) for row in rows):
            continue
        problem = built(example, options)
        if problem is None:
            continue
        dim = num_unknowns(problem)
        for T in example.lengths:
            names = [
                name
                for name in solvers_for(options.suite, dim)
                if selected(row_name(example, T, name), options)
            ]
            if not names:
                continue
            case = prepare(problem, T, example.chains, options.seed)
            exponent = exponent_of(case, example.chains)
            for name in names:
                yield run_one(example, case, exponent, T, name, options)


def built(example: Example, options: Options) -> Problem | None:
    """The problem, or None and a word where its data are not there."""
    try:
        return example.build(options.data)
    except FileNotFoundError as error:
        print(f"{example.target}: skipped, {error}", flush=True)
        return None


def num_unknowns(problem: Problem) -> int:
    def vector(key):
        return problem.transition.ravel(problem.transition.init(problem.start(key), key))

    return jax.eval_shape(vector, jax.random.key(0)).size


def row_name(example: Example, T: int, solver: str) -> str:
    return f"{example.target}/{example.kernel}/{T}/{solver}"


def selected(name: str, options: Options) -> bool:
    return not options.only or any(part in name for part in options.only)


def keep_position(state: Any, info: Any) -> Any:
    """Draws are all that a user waits for."""
    return state.position


def prepare(problem: Problem, T: int, chains: int, seed: int) -> Case:
    key_start, key_inputs = jax.random.split(jax.random.key(seed))
    if chains > 1:
        key_start, key_inputs = (jax.random.split(key, chains) for key in (key_start, key_inputs))
    transition = problem.transition
    init = over(chains, lambda key: transition.init(problem.start(key), key))
    draw_inputs = over(chains, lambda key, state: transition.draw_inputs(key, T, state))
    state = jax.jit(init)(key_start)
    inputs = jax.jit(draw_inputs)(key_inputs, state)

    def sequential(state, inputs):
        return run_sequential(transition, state, inputs, keep_position)[1]

    program = compile_for(over(chains, sequential), state, inputs)
    return Case(problem, state, inputs, program, program.run(state, inputs))


def exponent_of(case: Case, chains: int) -> Exponent:
    """Of the first chain."""
    transition = case.problem.transition

    def exponent(state, inputs):
        states = run_sequential(transition, state, inputs)[1][0]
        x0, x = transition.ravel(state), jax.vmap(transition.ravel)(states)
        return lyapunov_exponent(recursion(transition), x0, inputs, x)

    return jax.jit(exponent)(chain_of(chains, case.state), chain_of(chains, case.inputs))


def rows_of(chains: int, history: Any) -> list[np.ndarray]:
    """A history of positions of each chain as ``(T, D)``."""
    return [as_rows(chain_of(chains, history, i)) for i in range(chains)]


def compared(case: Case, chains: int, history: Any) -> Record:
    """The chain that differs most from the sequential one, and whether its steps are right."""
    rows, references = rows_of(chains, history), rows_of(chains, case.reference)
    found = [differences(*pair) for pair in zip(rows, references, strict=True)]
    worst = max(range(chains), key=lambda i: found[i]["num_steps_differ"])
    state, inputs, chain, reference = (
        chain_of(chains, tree, worst) for tree in (case.state, case.inputs, history, case.reference)
    )
    transition, differ = case.problem.transition, found[worst]["num_steps_differ"] > 0
    return {
        **found[worst],
        **first_difference(transition, state, inputs, rows[worst], reference),
        "num_wrong_steps": num_wrong_steps(transition, state, inputs, chain) if differ else 0,
    }


def run_one(
    example: Example, case: Case, exponent: Exponent, T: int, solver: str, options: Options
) -> Record:
    """Solve once to compare (and to warm up), then time against the sequential scan, in turn."""
    transition, state, inputs, chains = (
        case.problem.transition, case.state, case.inputs, example.chains,
    )  # fmt: skip
    first = chain_of(chains, state)
    x = jax.eval_shape(transition.ravel, first)
    key = jax.random.key(options.seed)

    def attempt(solver, num_steps, limit):
        return attempt_once(transition, solver, num_steps, key, first, None, limit)

    choice = choose(SOLVERS[solver], None, T, x, attempt, chains)

    def solve(state, inputs):
        return run_parallel(
            transition,
            state,
            inputs,
            solver=choice.solver,
            window=example.window,
            max_iterations=options.max_iterations,
            transform=keep_position,
        )[1:]

    program = compile_for(over(chains, solve), state, inputs)
    history, info = jax.block_until_ready(program.run(state, inputs))
    references = rows_of(chains, case.reference)
    sequential_seconds, parallel_seconds = in_turn(
        [lambda: case.sequential.run(state, inputs), lambda: program.run(state, inputs)],
        options.repeats,
        options.max_seconds,
    )
    return {
        "suite": options.suite,
        "target": example.target,
        "kernel": example.kernel,
        "T": T,
        "D": x.size,
        "chains": chains,
        "solver": solver,
        "window": example.window,
        "dtype": str(x.dtype),
        "seed": options.seed,
        "accept_rate": accept_rate(references[0]),
        "min_ess": min_ess(references),
        "iterations": int(info.num_iterations.max()),
        "evaluations_per_draw": int(info.num_iterations.max())
        + int((info.num_sequential_steps + info.num_frontier_steps).max()) / T,
        "gradients_per_step": example.gradients,
        "exponent": float(exponent.value),
        "exponent_error": float(exponent.standard_error),
        "choice": choice.reason,
        "aim": example.aims.get(T),
        "max_iterations": options.max_iterations,
        "residual": float(info.residual.max()),
        "status": Status(int(info.status.max())).name,
        "num_sequential_steps": int(info.num_sequential_steps.max()),
        "num_frontier_steps": int(info.num_frontier_steps.max()),
        "num_limited": int(info.num_limited.sum()),
        "num_resets": int(info.num_resets.sum()),
        "num_ties": int(info.num_ties.sum()),
        **compared(case, chains, history),
        "compile_seconds": program.compile_seconds,
        "compile_seconds_sequential": case.sequential.compile_seconds,
        "repeats": len(parallel_seconds),
        **spread("seconds", parallel_seconds),
        **spread("seconds_sequential", sequential_seconds),
        "ratio": statistics.median(sequential_seconds) / statistics.median(parallel_seconds),
        "bytes": program.num_bytes,
        "bytes_sequential": case.sequential.num_bytes,
        "peak_bytes": (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }


def spread(name: str, seconds: list[float]) -> Record:
    """Median, least and most."""
    return {
        name: statistics.median(seconds),
        f"{name}_min": min(seconds),
        f"{name}_max": max(seconds),
    }


def spreads(names: Sequence[str], times: Sequence[list[float]]) -> Record:
    """The spread of each of several programs; names beyond the times have none."""
    return {
        name: value
        for measure, seconds in zip(names, times, strict=False)
        for name, value in spread(measure, seconds).items()
    }
