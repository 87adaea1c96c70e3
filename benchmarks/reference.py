"""The public code of arXiv:2508.18413 on its four examples, and this package, in turn.

That code is no part of this project: ``--reference`` is where a checkout of
https://github.com/lindermanlab/parallel-mcmc lies. It was written for an older JAX and for
TensorFlow Probability, and is lent the two names of them that it needs. Step sizes, damping, bases
and guesses are those of its own examples. Its chains have their own randomness, as it draws within
its steps; iterations and seconds are compared, not draws.
"""

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import examples
from benchmarks.problems import Example
from benchmarks.records import Record
from benchmarks.runs import (
    Case,
    Options,
    built,
    compared,
    keep_position,
    prepare,
    selected,
    spreads,
)
from benchmarks.suites import SOLVERS
from benchmarks.timing import Program, compile_for, in_turn
from parallel_mcmc import Status, run_parallel, targets
from parallel_mcmc.transition import recursion

MAX_ITERATIONS = 200
NAMES = {"deer": SOLVERS["deer"], "quasi-deer, 1 probe": SOLVERS["quasi-deer, 1 probe"]}


class Theirs(NamedTuple):
    """Their program for one chain, compiled, and what it is called with."""

    program: Program
    arguments: tuple


@contextlib.contextmanager
def lent(path: Path) -> Iterator[None]:
    """Their modules can be imported and traced."""
    clip = jnp.clip

    def older_clip(x, *bounds, a_min=None, a_max=None, **named):
        return clip(x, *(bounds or (a_min, a_max)), **named)

    class MultivariateNormalDiag:
        def __init__(self, loc, scale_diag):
            self.loc, self.scale = loc, scale_diag

        def log_prob(self, x):
            return jnp.sum(jax.scipy.stats.norm.logpdf(x, self.loc, self.scale))

    names = "tensorflow_probability", "tensorflow_probability.substrates"
    modules = {name: types.ModuleType(name) for name in (*names, f"{names[1]}.jax")}
    modules[names[1]].jax = modules[f"{names[1]}.jax"]  # type: ignore[attr-defined]
    modules[f"{names[1]}.jax"].distributions = types.SimpleNamespace(  # type: ignore[attr-defined]
        MultivariateNormalDiag=MultivariateNormalDiag
    )
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(sys, "path", [str(path), *sys.path]),
        mock.patch.object(jnp, "clip", older_clip),
    ):
        yield


def of_vectors(target: targets.Target, case: Case) -> tuple[Callable, Any]:
    """The log density as theirs are called, and where the chain starts."""
    x0, unravel = ravel_pytree(case.state.position)
    return lambda x, params=None: target.logdensity_fn(unravel(x)), x0


def hmc(case: Case, T: int, target: targets.Target) -> tuple[Callable, tuple]:
    from src import samplers

    logdensity_fn, x0 = of_vectors(target, case)
    sampler = samplers.ParallelHMC(logdensity_fn, x0.size, T, MAX_ITERATIONS, damp_factor=0.55)
    settings = {"epsilon": 0.5, "num_leapfrog_steps": 8}
    guess = jnp.broadcast_to(x0, (T, x0.size))
    return sampler.run_parallel_hmc, (jax.random.PRNGKey(1), x0, guess, settings)


def mala(
    case: Case, T: int, target: targets.Target, step_size: float, whitened: bool
) -> tuple[Callable, tuple]:
    from src import samplers

    logdensity_fn, x0 = of_vectors(target, case)
    D = x0.size
    sampler = samplers.ParallelMALA(
        logdensity_fn, D, T, MAX_ITERATIONS, window_size=T, basis_transformation=whitened
    )
    basis, guess = jnp.eye(D), jax.random.normal(jax.random.PRNGKey(2), (T, D))
    if whitened:
        hessian = jax.hessian(logdensity_fn)(x0)
        basis, guess = jnp.linalg.svd(basis + step_size * hessian)[0], jnp.broadcast_to(x0, (T, D))
    settings = {
        "step_size": step_size,
        "key": jax.random.PRNGKey(3),
        "basis": basis,
        "target_params": {},
    }
    return sampler.run_parallel_mala, (jax.random.PRNGKey(1), x0, guess, settings)


def gibbs(case: Case, T: int) -> tuple[Callable, tuple]:
    """Their solver on our steps, as theirs are in a script."""
    from src import deer

    f = recursion(case.problem.transition)
    x0 = case.problem.transition.ravel(case.state)

    def solve(x0, guess):
        return deer.seq1d(
            lambda x, u, _: f(x, u), x0, case.inputs, {}, yinit_guess=guess,
            max_iter=MAX_ITERATIONS, quasi=False, qmem_efficient=False,
        )  # fmt: skip

    return solve, (x0, jnp.broadcast_to(x0, (T, x0.size)))


ROWS: dict[str, tuple[int, Callable]] = {
    "banana": (100_000, lambda case, T, data: hmc(case, T, targets.banana())),
    "mixture": (100_000, lambda case, T, data: mala(case, T, targets.mixture(), 0.5, False)),
    "eight schools, conjugate": (9_999, lambda case, T, data: gibbs(case, T)),
    "German credit": (
        2_048,
        lambda case, T, data: mala(case, T, targets.german_credit(data), 0.0015, True),
    ),
}
"""T and ``(case, T, path of the data) -> (their function, its arguments)``."""


def run_reference(options: Options) -> Iterator[list[Record]]:
    """The records of an example together, as its programs are timed in turn."""
    if options.reference is None or not (options.reference / "src" / "samplers.py").is_file():
        print("Skipped: give --reference, a checkout of the paper's code.", flush=True)
        return
    for example in examples.EXAMPLES:
        T, build = ROWS[example.target]
        names = [
            name
            for name in NAMES
            if selected(f"{example.target}/{example.kernel}/{T}/{name}", options)
        ]
        problem = built(example, options) if names else None
        if problem is not None:
            case = prepare(problem, T, 1, options.seed)
            yield run_one(example, case, T, names, build, options)


def run_one(
    example: Example, case: Case, T: int, names: list[str], build: Callable, options: Options
) -> list[Record]:
    assert options.reference is not None
    with lent(options.reference), jax.default_matmul_precision("highest"):
        function, arguments = build(case, T, options.data)
        theirs = compile_for(function, *arguments)
    ours = [solve_with(NAMES[name], case) for name in names]
    iterations = int(np.max(jax.block_until_ready(theirs.run(*arguments))[-1]))
    results = jax.block_until_ready([p.run(case.state, case.inputs) for p in ours])
    times = in_turn(
        [
            lambda: case.sequential.run(case.state, case.inputs),
            lambda: theirs.run(*arguments),
            *(lambda p=program: p.run(case.state, case.inputs) for program in ours),
        ],
        options.repeats,
        options.max_seconds,
    )
    return [
        {
            "suite": "reference",
            "target": example.target,
            "kernel": example.kernel,
            "T": T,
            "chains": 1,
            "solver": name,
            "dtype": str(case.problem.transition.ravel(case.state).dtype),
            "seed": options.seed,
            "iterations_reference": iterations,
            "iterations": int(info.num_iterations),
            "num_sequential_steps": int(info.num_sequential_steps),
            "num_frontier_steps": int(info.num_frontier_steps),
            "status": Status(int(info.status)).name,
            **compared(case, 1, history),
            "repeats": len(seconds),
            **spreads(
                ("seconds_sequential", "seconds_reference", "seconds"), [*times[:2], seconds]
            ),
            "compile_seconds_reference": theirs.compile_seconds,
            "compile_seconds": program.compile_seconds,
        }
        for name, program, (history, info), seconds in zip(
            names, ours, results, times[2:], strict=True
        )
    ]


def solve_with(solver: Any, case: Case) -> Program:
    def solve(state, inputs):
        return run_parallel(
            case.problem.transition, state, inputs, solver=solver, transform=keep_position,
            max_iterations=MAX_ITERATIONS,
        )[1:]  # fmt: skip

    return compile_for(solve, case.state, case.inputs)
