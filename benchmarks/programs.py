"""What compiled programs of this package cost on a GPU, on a machine that has none.

Kernels, waits of the host and bytes, of an iteration, of a turn of each loop within it, and of
what comes before and after: `gpu_costs` says how they are counted, `gpu_programs` what XLA compiles
for. Of a sequential chain an iteration is a step.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks import paper, swap
from benchmarks.chains import SOLVERS
from benchmarks.gpu_costs import Cost, Loop, cost_of_program, main_loop, nested, plus, times
from benchmarks.gpu_programs import DEVICE, compile_for_h100, is_possible
from benchmarks.measure import Options, Program, Row, compile_for, of_solve, timed
from benchmarks.problem import Chain, Problem, chain_of, credit_target
from benchmarks.records import Record

MISSING = (
    "Skipped: to compile for a GPU that is not there, install JAX's plugin, as by pip install "
    f"jax-cuda12-pjrt=={jax.__version__} and pip install --no-deps "
    f"jax-cuda12-plugin=={jax.__version__} nvidia-cuda-nvcc-cu12."
)


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


QUASI, SEQUENTIAL = "quasi-deer, 1 probe", "sequential"
WHITENED = "German credit", "HMC, step 0.5 x 3"
PROGRAMS: tuple[tuple[tuple[str, str], int, int, str, Callable[..., Chain]], ...] = (
    (paper.MIXTURE, 2, 100_000, QUASI, chain_of(paper.mixture)),
    (paper.MIXTURE, 2, 100_000, "deer", chain_of(paper.mixture)),
    (paper.MIXTURE, 2, 1_000_000, QUASI, chain_of(paper.mixture)),
    (paper.NORMAL_HMC, 10, 10_000, "jacobi", chain_of(paper.quarter_period)),
    (paper.CREDIT, 25, 16_384, "deer", chain_of(paper.german_credit)),
    (WHITENED, 25, 16_384, "jacobi", chain_of(whitened_german_credit)),
    (WHITENED, 25, 16_384, QUASI, chain_of(whitened_german_credit)),
    (WHITENED, 25, 16_384, SEQUENTIAL, chain_of(whitened_german_credit)),
    ((swap.TARGET, swap.OURS), 10, 10_000, "jacobi", swap.under(pm.MCMC)),
)
"""Target and kernel, unknowns, T, solver, and how the chain is built."""


def rows(options: Options, part: str) -> Iterator[Row]:
    """Compiled for a GPU that is not there."""
    if is_possible():
        yield from each(described, options)
    else:
        print(MISSING, flush=True)


def solver_of(name: str) -> Any:
    """As tables call it."""
    return pm.sequential() if name == SEQUENTIAL else SOLVERS[name]


def each(measure: Callable, options: Options, most_steps: int = 1_000_000) -> Iterator[Row]:
    """With ``measure(chain, T, options)``, of no more steps than that."""

    def measured(build, T, D, solver):
        return {"D": D, **measure(build(options.data, T, solver_of(solver)), T, options)}

    for (target, kernel), D, length, solver, build in PROGRAMS:
        T, name = min(length, most_steps), f"{target}/{kernel}/{length}/{solver}"
        yield Row(target, kernel, T, solver, partial(measured, build, T, D, solver), only=name)


def described(chain: Chain, T: int, options: Options) -> Record:
    program = compile_for_h100(chain.run, *jax.eval_shape(chain.arguments))
    return costs_of(program) | {"backend": "gpu, described", "device": DEVICE}


def run_here(chain: Chain, T: int, options: Options) -> Record:
    """The same on this device, with the time of a run beside that of the model."""
    program = compile_for(chain.run, *jax.jit(chain.arguments)())
    _, info = program()
    return {
        **costs_of(program),
        **of_solve(info),
        "seconds_run_model": seconds_by_model(counted(program.compiled.as_text()), T, info),
        **timed({"seconds": program}, options),
    }


def costs_of(program: Program) -> Record:
    memory = program.compiled.memory_analysis()
    return {
        **counts(program.compiled.as_text()),
        "bytes_temporary": memory.temp_size_in_bytes,
        "bytes_arguments": memory.argument_size_in_bytes,
        "bytes_results": memory.output_size_in_bytes,
        "compile_seconds": program.compile_seconds,
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
    return found.outside.seconds + (iterations or T) * found.iteration.seconds


def counts(text: str) -> Record:
    """As fields of a record; those of the loops in an iteration are lists."""
    iteration, loops, outside = counted(text)
    found: Record = {}
    for i, name in enumerate(("kernels", "waits", "bytes_moved", "seconds_model")):
        found[name], found[f"{name}_outside"] = iteration[i], outside[i]
        found[f"{name}_loops"] = [loop.turn[i] for loop in loops]
    return found
