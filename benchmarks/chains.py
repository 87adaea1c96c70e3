"""Tables of examples: each at each length by each solver, beside the sequential scan."""

import functools
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, compare, hard, paper
from benchmarks.measure import Options, Program, Row, compile_for, measure, of_solve
from benchmarks.problem import Example, Problem, keep_position, solving
from benchmarks.records import Record
from parallel_mcmc._core.auto import Auto, choose
from parallel_mcmc._core.lyapunov import Exponent
from parallel_mcmc._mcmc.transition import attempt_once, recursion

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "paper": paper.PAPER,
    "examples": paper.EXAMPLES,
    "defaults": paper.DEFAULTS,
    "hard": hard.EXAMPLES,
    "auto": paper.EXAMPLES,
    "blackjax": blackjax_kernels.EXAMPLES,
}
"""By part."""

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
"""Solvers that some parts alone run."""
EVERYWHERE = [part for part in EXAMPLES if part != "auto"]

MAX_UNKNOWNS = {"deer": 64, "elk": 64, "quasi-deer, exact": 128}
"""Up to which solvers are tried that take a product with the Jacobian per unknown."""


def rows(options: Options, part: str) -> Iterator[Row]:
    solvers = [name for name in SOLVERS if part in ONLY_IN.get(name, EVERYWHERE)]
    for example in EXAMPLES[part]:
        for T, solver in itertools.product(example.lengths, solvers):
            measure = partial(measured, example, T, solver, options)
            yield Row(example.target, example.kernel, T, solver, measure)


class Case(NamedTuple):
    """Chains to compute: start, randomness, and the sequential chains that they give.

    Of several chains all have a leading axis, of one none.
    """

    problem: Problem
    chains: int
    state: Any
    inputs: Any
    loop: Program
    reference: Any

    def of(self, tree: Any, chain: int = 0) -> Any:
        """What belongs to one of the chains."""
        return tree if self.chains == 1 else jax.tree.map(lambda leaf: leaf[chain], tree)

    def as_rows(self, history: Any) -> list[np.ndarray]:
        """A history of positions of each chain as ``(T, D)``."""
        return [compare.as_rows(self.of(history, i)) for i in range(self.chains)]


def over(chains: int, function: Callable) -> Callable:
    """The function of one chain, for that many."""
    return function if chains == 1 else jax.vmap(function)


def prepare(problem: Problem, T: int, chains: int, seed: int) -> Case:
    key_start, key_inputs = jax.random.split(jax.random.key(seed))
    if chains > 1:
        key_start, key_inputs = (jax.random.split(key, chains) for key in (key_start, key_inputs))
    transition = problem.transition
    draw_inputs = over(
        chains, lambda key, state: transition.draw_inputs(jax.random.split(key, T), state)
    )
    state = jax.jit(over(chains, problem.init))(key_start)
    inputs = jax.jit(draw_inputs)(key_inputs, state)

    def sequential(state, inputs):
        return pm.run_sequential(transition, state, inputs, keep_position)[1]

    loop = compile_for(over(chains, sequential), state, inputs)
    return Case(problem, chains, state, inputs, loop, loop())


@functools.lru_cache(1)  # of which all solvers of a row are run
def prepared(example: Example, T: int, data: Path, seed: int) -> tuple[Case, Exponent]:
    case = prepare(example.build(data), T, example.chains, seed)
    transition = case.problem.transition

    def exponent(state, inputs):
        states = pm.run_sequential(transition, state, inputs)[1][0]
        x0, x = transition.ravel(state), jax.vmap(transition.ravel)(states)
        return pm.lyapunov_exponent(recursion(transition), x0, inputs, x)

    return case, jax.jit(exponent)(case.of(case.state), case.of(case.inputs))


def compared(case: Case, history: Any) -> Record:
    """The chain that differs most from the sequential one, and whether its steps are right."""
    rows = case.as_rows(history)
    found = [
        compare.differences(*pair) for pair in zip(rows, case.as_rows(case.reference), strict=True)
    ]
    worst = max(range(case.chains), key=lambda i: found[i]["num_steps_differ"])
    of_worst = [case.of(tree, worst) for tree in (case.state, case.inputs)]
    transition, reference = case.problem.transition, case.of(case.reference, worst)
    is_same = found[worst]["num_steps_differ"] == 0
    wrong = (
        0 if is_same else compare.num_wrong_steps(transition, *of_worst, case.of(history, worst))
    )
    return {
        **found[worst],
        **compare.first_difference(transition, *of_worst, rows[worst], reference),
        "num_wrong_steps": wrong,
    }


def measured(example: Example, T: int, solver: str, options: Options) -> Record | list[Record]:
    """Solve once to compare (and to warm up), then time against the sequential scan, in turn."""
    case, exponent = prepared(example, T, options.data, options.seed)
    transition, first = case.problem.transition, case.of(case.state)
    x = jax.eval_shape(transition.ravel, first)
    if x.size > MAX_UNKNOWNS.get(solver, x.size):
        return []
    key = jax.random.key(options.seed)

    def attempt(solver, num_steps):
        return attempt_once(transition, solver, num_steps, key, first)

    choice = choose(SOLVERS[solver], None, T, x, attempt, example.chains)
    solve = solving(transition, options.limited(choice.solver), example.window)
    program = compile_for(over(example.chains, solve), case.state, case.inputs)
    history, info = program()
    references = case.as_rows(case.reference)
    report = of_solve(info)
    by_hand = info.num_sequential_steps.max()
    times = measure({"_sequential": case.loop, "": program}, options)
    return {
        "D": x.size, "chains": example.chains, "window": example.window, "dtype": str(x.dtype),
        "accept_rate": compare.accept_rate(references[0]), "min_ess": compare.min_ess(references),
        **report,
        "evaluations_per_draw": report["iterations"] + int(by_hand) / T,
        "gradients_per_step": example.gradients,
        "exponent": float(exponent.value), "exponent_error": float(exponent.standard_error),
        "choice": choice.reason, "aim": example.lengths[T],
        "max_iterations": options.max_iterations,
        **compared(case, history),
        **times,
        "ratio": times["seconds_sequential"] / times["seconds"],
        "peak_bytes": (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }  # fmt: skip
