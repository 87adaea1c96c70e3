"""What compiled programs of this package cost on a GPU, on a machine that has none.

Kernels, waits of the host and bytes, of an iteration, of a turn of each loop within it, and of
what comes before and after: `gpu_costs` says how they are counted, `gpu_programs` what XLA compiles
for. Of a sequential chain an iteration is a step.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks import examples, swap
from benchmarks.gpu_costs import Cost, Loop, cost_of_program, main_loop, nested, plus, times
from benchmarks.gpu_programs import DEVICE, Compiled, compile_for_h100, is_possible, read_off
from benchmarks.measure import Options, header, in_turn, of_solve, spreads
from benchmarks.problem import Problem, credit_target
from benchmarks.records import Record
from benchmarks.runs import SOLVERS, keep_position

MISSING = (
    "Skipped: to compile for a GPU that is not there, install JAX's plugin, as by pip install "
    f"jax-cuda12-pjrt=={jax.__version__} and pip install --no-deps "
    f"jax-cuda12-plugin=={jax.__version__} nvidia-cuda-nvcc-cu12."
)


class Run(NamedTuple):
    """A function to compile, and one without arguments that makes its arguments."""

    function: Callable
    arguments: Callable[[], tuple]
    D: int


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        target, kernel, T, solver: for the record.
        build: ``(path of the data, T, solver) -> Run``; raises `FileNotFoundError` where it needs
            data that are not there.
    """

    target: str
    kernel: str
    T: int
    solver: str
    build: Callable[[Path, int, str], Run]


def chain_of(problem: Callable[[Path], Problem]) -> Callable[[Path, int, str], Run]:
    """A chain from its start and its randomness, by a solver or step by step."""

    def build(data: Path, T: int, solver: str) -> Run:
        transition, start = problem(data)

        def arguments():
            key_start, key_inputs = jax.random.split(jax.random.key(0))
            state = transition.init(start(key_start), key_start)
            return state, transition.draw_inputs(jax.random.split(key_inputs, T), state)

        def run(state, inputs):
            return pm.run_parallel(
                transition,
                state,
                inputs,
                solver=pm.sequential() if solver == "sequential" else SOLVERS[solver],
                transform=keep_position,
            )[1:]

        return Run(run, arguments, jax.eval_shape(lambda: transition.ravel(arguments()[0])).size)

    return build


def whitened_german_credit(data: Path) -> Problem:
    """In the metric of the posterior at its mode, over about a quarter period."""
    target = credit_target(data)

    def potential_fn(beta):
        return -target.logdensity_fn({"beta": beta})

    mode = jnp.zeros(25)
    for _ in range(10):  # Newton's method, on a function that is convex
        mode -= jnp.linalg.solve(jax.hessian(potential_fn)(mode), jax.grad(potential_fn)(mode))
    covariance = jnp.linalg.inv(jax.hessian(potential_fn)(mode))
    transition = pm.hmc(target.logdensity_fn, 0.5, covariance, 3).at(target.position)
    return Problem(transition, lambda key: {"beta": mode})


def under_numpyro(data: Path, T: int, solver: str) -> Run:
    """From a key to the constrained draws."""
    sampler = next(s for s in swap.SAMPLERS if s.mcmc is pm.MCMC and swap.solver_name(s) == solver)
    run, key = swap.run_of(sampler, T, 1, seed=0)
    return Run(run, lambda: (key,), 10)


MIXTURE = "mixture", "MALA, step 0.5"
GERMAN_CREDIT = "German credit", "HMC, step 0.5 x 3"

ROWS = (
    Row(*MIXTURE, 100_000, "quasi-deer, 1 probe", chain_of(examples.mixture)),
    Row(*MIXTURE, 100_000, "deer", chain_of(examples.mixture)),
    Row(*MIXTURE, 1_000_000, "quasi-deer, 1 probe", chain_of(examples.mixture)),
    Row(
        "normal, D = 10", "HMC, step 0.2 x 8", 10_000, "jacobi",
        chain_of(examples.quarter_period),
    ),
    Row(
        "German credit", "MALA, step 0.0015", 16_384, "deer", chain_of(examples.german_credit),
    ),
    *(
        Row(*GERMAN_CREDIT, 16_384, solver, chain_of(whitened_german_credit))
        for solver in ("jacobi", "quasi-deer, 1 probe", "sequential")
    ),
    Row(swap.TARGET, "ParallelHMC in pm.MCMC", 10_000, "jacobi", under_numpyro),
)  # fmt: skip


def run(options: Options) -> Iterator[Record]:
    """The records, one by one, compiled for a GPU that is not there."""
    if not is_possible():
        print(MISSING, flush=True)
        return
    for row, run in built(options):
        compiled = compile_for_h100(run.function, *jax.eval_shape(run.arguments))
        yield record_of(row, run, compiled, options) | {
            "backend": "gpu, described",
            "device": DEVICE,
        }


def run_here(options: Options, most_steps: int | None = None) -> Iterator[Record]:
    """The same on this device, with the time of a run beside that of the model."""
    for row, run in built(options, most_steps):
        arguments = jax.jit(run.arguments)()
        begin = time.perf_counter()
        program = jax.jit(run.function).lower(*arguments).compile()
        compiled = read_off(program, time.perf_counter() - begin)
        _, info = jax.block_until_ready(program(*arguments))
        times = in_turn([lambda p=program, a=arguments: p(*a)], options)
        yield record_of(row, run, compiled, options) | {
            **of_solve(info),
            "seconds_run_model": seconds_by_model(counted(compiled.text), row.T, info),
            **spreads(("seconds",), times),
        }


def built(options: Options, most_steps: int | None = None) -> Iterator[tuple[Row, Run]]:
    """The rows that are asked for and whose data are there, of no more steps than that."""
    for row in ROWS:
        if not options.selected(f"{row.target}/{row.kernel}/{row.T}/{row.solver}"):
            continue
        row = row._replace(T=min(row.T, most_steps or row.T))
        try:
            yield row, row.build(options.data, row.T, row.solver)
        except FileNotFoundError as error:
            print(f"{row.target}: skipped, {error}", flush=True)


def record_of(row: Row, run: Run, compiled: Compiled, options: Options) -> Record:
    return {
        **header(options, row.target, row.kernel, row.T, row.solver, D=run.D),
        **counts(compiled.text),
        "bytes_temporary": compiled.bytes_temporary,
        "bytes_arguments": compiled.bytes_arguments,
        "bytes_results": compiled.bytes_results,
        "compile_seconds": compiled.seconds,
    }


class Counts(NamedTuple):
    """Of a compiled program: an iteration, the loops in it by turn, and all else, once."""

    iteration: Cost
    loops: tuple[Loop, ...]
    outside: Cost


def counted(text: str) -> Counts:
    program = cost_of_program(text)
    loop = main_loop(program.loops)
    if loop is None:
        return Counts(Cost(), (), program.cost)
    if loop.turns is not None:  # which the cost of the program has counted
        return Counts(loop.turn, (), plus(program.cost, times(-loop.turns, loop.turn)))
    inside = list(nested(loop))
    if not inside:
        return Counts(loop.turn, (), program.cost)
    # What is done where the iterations have stopped, mostly once: the rest of the outer loop.
    iterations, *within = inside
    return Counts(iterations.turn, tuple(within), plus(program.cost, loop.turn))


def seconds_by_model(found: Counts, T: int, info: pm.SolveInfo) -> float | None:
    """Of a run; None where it was finished step by step, or has loops that are not counted."""
    steps, iterations = int(info.num_sequential_steps), int(info.num_iterations)
    if len(found.loops) > 1 or (steps and iterations):
        return None
    at_the_frontier = int(info.num_frontier_steps) * sum(loop.turn.seconds for loop in found.loops)
    return found.outside.seconds + (iterations or T) * found.iteration.seconds + at_the_frontier


def counts(text: str) -> Record:
    """As fields of a record; those of the loops in an iteration are lists."""
    iteration, loops, outside = counted(text)
    names = zip(("kernels", "waits", "bytes_moved", "seconds_model"), Cost._fields, strict=True)
    return {
        name + suffix: value
        for name, field in names
        for suffix, value in (
            ("", getattr(iteration, field)),
            ("_loops", [getattr(loop.turn, field) for loop in loops]),
            ("_outside", getattr(outside, field)),
        )
    }
