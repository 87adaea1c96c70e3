"""Suites that are a table of examples: each at each length by each solver, a record each."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, examples, hard
from benchmarks.compare import (
    accept_rate,
    as_rows,
    differences,
    first_difference,
    min_ess,
    num_wrong_steps,
)
from benchmarks.measure import Options, Program, compile_for, header, in_turn, of_solve, spreads
from benchmarks.problem import Example, Problem
from benchmarks.records import Record
from parallel_mcmc._core.auto import Auto, choose
from parallel_mcmc._core.lyapunov import Exponent
from parallel_mcmc._mcmc.transition import attempt_once, recursion

SUITES: dict[str, tuple[Example, ...]] = {
    "examples": examples.EXAMPLES,
    "paper": examples.PAPER,
    "defaults": examples.DEFAULTS,
    "auto": examples.EXAMPLES,
    "blackjax": blackjax_kernels.EXAMPLES,
    "hard": hard.EXAMPLES,
}

SOLVERS: dict[str, pm.Solver | Auto] = {
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
    "quasi-deer, exact": pm.quasi_deer(pm.exact_diagonal()),
    "jacobi": pm.jacobi(),
    "picard": pm.picard(),
    "elk": pm.elk(),
    "quasi-elk": pm.quasi_elk(),
    # As on an accelerator: on a CPU the choice is to run step by step.
    "auto": pm.auto(platform="gpu"),
    "auto, here": pm.auto(),
}

ONLY_IN = {
    "elk": ("hard",),
    "quasi-elk": ("hard",),
    "auto": ("hard", "defaults"),
    "auto, here": ("auto",),
}
"""Solvers that some suites alone run."""

MAX_UNKNOWNS = {"deer": 64, "elk": 64, "quasi-deer, exact": 128}
"""Up to which solvers are tried that take a product with the Jacobian per unknown."""


def solvers_for(suite: str, dim: int) -> list[str]:
    """Names of the solvers that a suite runs for so many unknowns."""
    if suite == "auto":
        return ["auto, here"]
    return [
        name
        for name in SOLVERS
        if suite in ONLY_IN.get(name, (suite,)) and dim <= MAX_UNKNOWNS.get(name, dim)
    ]


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


def run(options: Options) -> Iterator[Record]:
    """The records of a suite, one by one; examples that cannot run are skipped with a reason."""
    for example in SUITES[options.suite]:
        if not any(
            selected(example, T, name, options) for T in example.lengths for name in SOLVERS
        ):
            continue
        problem = built(example, options)
        if problem is None:
            continue
        solvers = solvers_for(options.suite, num_unknowns(problem))
        for T in example.lengths:
            names = [name for name in solvers if selected(example, T, name, options)]
            if names:
                case = prepare(problem, T, example.chains, options.seed)
                exponent = exponent_of(case, example.chains)
                for name in names:
                    yield run_one(example, case, exponent, T, name, options)


def selected(example: Example, T: int, solver: str, options: Options) -> bool:
    return options.selected(f"{example.target}/{example.kernel}/{T}/{solver}")


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


def keep_position(state: Any, info: Any) -> Any:
    """Draws are all that a user waits for."""
    return state.position


def prepare(problem: Problem, T: int, chains: int, seed: int) -> Case:
    key_start, key_inputs = jax.random.split(jax.random.key(seed))
    if chains > 1:
        key_start, key_inputs = (jax.random.split(key, chains) for key in (key_start, key_inputs))
    transition = problem.transition
    init = over(chains, lambda key: transition.init(problem.start(key), key))
    draw_inputs = over(
        chains, lambda key, state: transition.draw_inputs(jax.random.split(key, T), state)
    )
    state = jax.jit(init)(key_start)
    inputs = jax.jit(draw_inputs)(key_inputs, state)

    def sequential(state, inputs):
        return pm.run_sequential(transition, state, inputs, keep_position)[1]

    program = compile_for(over(chains, sequential), state, inputs)
    return Case(problem, state, inputs, program, program.run(state, inputs))


def exponent_of(case: Case, chains: int) -> Exponent:
    """Of the first chain."""
    transition = case.problem.transition

    def exponent(state, inputs):
        states = pm.run_sequential(transition, state, inputs)[1][0]
        x0, x = transition.ravel(state), jax.vmap(transition.ravel)(states)
        return pm.lyapunov_exponent(recursion(transition), x0, inputs, x)

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

    def attempt(solver, num_steps):
        return attempt_once(transition, solver, num_steps, key, first)

    choice = choose(SOLVERS[solver], None, T, x, attempt, chains)

    def solve(state, inputs):
        return pm.run_parallel(
            transition,
            state,
            inputs,
            solver=options.limited(choice.solver),
            window=example.window,
            transform=keep_position,
        )[1:]

    program = compile_for(over(chains, solve), state, inputs)
    history, info = jax.block_until_ready(program.run(state, inputs))
    references = rows_of(chains, case.reference)
    times = in_turn(
        [lambda: case.sequential.run(state, inputs), lambda: program.run(state, inputs)], options
    )
    sequential_seconds, parallel_seconds = map(statistics.median, times)
    report = of_solve(info)
    by_hand = (info.num_sequential_steps + info.num_frontier_steps).max()
    return {
        **header(options, example.target, example.kernel, T, solver),
        "D": x.size,
        "chains": chains,
        "window": example.window,
        "dtype": str(x.dtype),
        "accept_rate": accept_rate(references[0]),
        "min_ess": min_ess(references),
        **report,
        "evaluations_per_draw": report["iterations"] + int(by_hand) / T,
        "gradients_per_step": example.gradients,
        "exponent": float(exponent.value),
        "exponent_error": float(exponent.standard_error),
        "choice": choice.reason,
        "aim": example.aims.get(T),
        "max_iterations": options.max_iterations,
        **compared(case, chains, history),
        "compile_seconds": program.compile_seconds,
        "compile_seconds_sequential": case.sequential.compile_seconds,
        **spreads(("seconds_sequential", "seconds"), times),
        "ratio": sequential_seconds / parallel_seconds,
        "bytes": program.num_bytes,
        "bytes_sequential": case.sequential.num_bytes,
        "peak_bytes": (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
