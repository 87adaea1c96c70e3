"""One run: a problem, a length and a solver in, a record out."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.compare import accept_rate, as_rows, differences, first_difference
from benchmarks.problems import Example, Problem
from benchmarks.records import Record
from benchmarks.suites import SOLVERS, SUITES, solvers_for
from benchmarks.timing import Program, compile_for, in_turn
from parallel_mcmc import Status, lyapunov_exponent, run_parallel, run_sequential
from parallel_mcmc.auto import choose
from parallel_mcmc.lyapunov import Exponent
from parallel_mcmc.transition import pilot, recursion


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
    """

    suite: str
    only: tuple[str, ...]
    data: Path
    seed: int
    repeats: int
    max_seconds: float
    max_iterations: int


class Case(NamedTuple):
    """A chain to compute: its start, its randomness, and the sequential chain that they give."""

    problem: Problem
    state: Any
    inputs: Any
    sequential: Program
    reference: Any
    exponent: Exponent


def run_suite(options: Options) -> Iterator[Record]:
    """The records of a suite, one by one; examples that cannot run are skipped with a reason."""
    for example in SUITES[options.suite]:
        rows = (row_name(example, T, name) for T in example.lengths for name in SOLVERS)
        if not any(selected(row, options) for row in rows):
            continue
        try:
            problem = example.build(options.data)
        except FileNotFoundError as error:
            print(f"{example.target}: skipped, {error}", flush=True)
            continue
        dim = num_unknowns(problem)
        for T in example.lengths:
            names = [
                name
                for name in solvers_for(options.suite, dim)
                if selected(row_name(example, T, name), options)
            ]
            case = prepare(problem, T, options.seed) if names else None
            for name in names:
                yield run_one(example, case, T, name, options)


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


def prepare(problem: Problem, T: int, seed: int) -> Case:
    key_start, key_inputs = jax.random.split(jax.random.key(seed))
    transition = problem.transition
    state = jax.jit(transition.init)(problem.start(key_start), key_start)
    inputs = jax.jit(transition.draw_inputs, static_argnums=1)(key_inputs, T, state)

    def sequential(state, inputs):
        return run_sequential(transition, state, inputs, keep_position)[1]

    program = compile_for(sequential, state, inputs)

    def exponent(state, inputs):
        states = run_sequential(transition, state, inputs)[1][0]
        x0, x = transition.ravel(state), jax.vmap(transition.ravel)(states)
        return lyapunov_exponent(recursion(transition), x0, inputs, x)

    reference = program.run(state, inputs)
    return Case(problem, state, inputs, program, reference, jax.jit(exponent)(state, inputs))


def run_one(example: Example, case: Case, T: int, solver: str, options: Options) -> Record:
    """Solve once to compare (and to warm up), then time against the sequential scan, in turn."""
    transition, state, inputs = case.problem.transition, case.state, case.inputs
    x = jax.eval_shape(transition.ravel, state)
    key = jax.random.key(options.seed)

    def attempt(solver, num_steps, limit):
        return pilot(transition, solver, num_steps, key, state, None, limit)

    choice = choose(SOLVERS[solver], None, T, x, attempt)

    def solve(state, inputs):
        return run_parallel(
            transition,
            state,
            inputs,
            solver=choice.solver,
            max_iterations=options.max_iterations,
            transform=keep_position,
        )[1:]

    program = compile_for(solve, state, inputs)
    history, info = jax.block_until_ready(program.run(state, inputs))
    chain, reference = as_rows(history), as_rows(case.reference)
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
        "D": reference.shape[1],
        "chains": 1,
        "solver": solver,
        "dtype": str(jax.eval_shape(transition.ravel, state).dtype),
        "seed": options.seed,
        "accept_rate": accept_rate(reference),
        "iterations": int(info.num_iterations),
        "evaluations_per_draw": int(info.num_iterations) + int(info.num_sequential_steps) / T,
        "exponent": float(case.exponent.value),
        "exponent_error": float(case.exponent.standard_error),
        "choice": choice.reason,
        "aim": example.aims.get(T),
        "max_iterations": options.max_iterations,
        "residual": float(info.residual),
        "status": Status(int(info.status)).name,
        "num_sequential_steps": int(info.num_sequential_steps),
        "num_limited": int(info.num_limited),
        "num_resets": int(info.num_resets),
        "num_ties": int(info.num_ties),
        **differences(chain, reference),
        **first_difference(transition, state, inputs, chain, case.reference),
        "compile_seconds": program.compile_seconds,
        "compile_seconds_sequential": case.sequential.compile_seconds,
        "repeats": len(parallel_seconds),
        **spread("seconds", parallel_seconds),
        **spread("seconds_sequential", sequential_seconds),
        "ratio": statistics.median(sequential_seconds) / statistics.median(parallel_seconds),
        "bytes": program.num_bytes,
        "bytes_sequential": case.sequential.num_bytes,
    }


def spread(name: str, seconds: list[float]) -> Record:
    """Median, least and most."""
    return {
        name: statistics.median(seconds),
        f"{name}_min": min(seconds),
        f"{name}_max": max(seconds),
    }
