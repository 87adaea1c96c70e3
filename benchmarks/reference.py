"""The public code of arXiv:2508.18413 on its four examples, and this package, in turn.

``--reference`` is where a checkout of https://github.com/lindermanlab/parallel-mcmc lies. It was
written for an older JAX and for TensorFlow Probability, and is lent what it needs of them. Step
sizes, damping, guesses and how a basis is found are those of its own examples, log densities ours.
It draws its randomness within its steps, so the chains are not the same: iterations and seconds are
compared, not draws.
"""

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import parallel_mcmc as pm
from benchmarks import paper
from benchmarks.chains import SOLVERS, Case, compared, prepare
from benchmarks.measure import Options, Row, compile_for, cost, in_turn, of_solve
from benchmarks.problem import Example, credit_target, keep_position, solving
from benchmarks.records import Record, commit_of
from parallel_mcmc import targets
from parallel_mcmc._mcmc.transition import recursion

NAMES = "deer", "quasi-deer, 1 probe"


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

    distributions = types.SimpleNamespace(MultivariateNormalDiag=MultivariateNormalDiag)
    substrate = types.SimpleNamespace(distributions=distributions)
    substrates = types.SimpleNamespace(jax=substrate)
    modules: dict[str, Any] = {
        "tensorflow_probability": types.SimpleNamespace(substrates=substrates),
        "tensorflow_probability.substrates": substrates,
        "tensorflow_probability.substrates.jax": substrate,
    }
    precision = jax.config.jax_default_matmul_precision
    kept = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        with (
            mock.patch.object(sys, "path", [str(path), *sys.path]),
            mock.patch.object(jnp, "clip", older_clip),
        ):
            yield
    finally:
        jax.config.update("jax_default_matmul_precision", precision)  # which it sets for all
        theirs = [name for name in sys.modules if name.partition(".")[0] == "src"]
        for name in [*modules, *theirs]:
            del sys.modules[name]
        sys.modules.update(kept)


class Theirs(NamedTuple):
    """What a program of theirs is made for."""

    case: Case
    T: int
    key: Any
    max_iterations: int

    def of_vectors(self, target: targets.Target) -> tuple[Callable, Any]:
        """The log density as theirs are called, and where the chain starts."""
        x0, unravel = ravel_pytree(self.case.state.position)
        return lambda x, params=None: target.logdensity_fn(unravel(x)), x0


def hmc(row: Theirs, target: targets.Target) -> tuple[Callable, tuple]:
    from src import samplers

    logdensity_fn, x0 = row.of_vectors(target)
    D, T = x0.size, row.T
    sampler = samplers.ParallelHMC(logdensity_fn, D, T, row.max_iterations, damp_factor=0.55)
    settings = {"epsilon": 0.5, "num_leapfrog_steps": 8}
    return sampler.run_parallel_hmc, (row.key, x0, jnp.broadcast_to(x0, (T, D)), settings)


WARMUP = 5
"""Steps after which the basis is taken."""


def mala(
    row: Theirs, target: targets.Target, step_size: float, whitened: bool
) -> tuple[Callable, tuple]:
    from src import samplers

    logdensity_fn, x0 = row.of_vectors(target)
    D, T = x0.size, row.T
    sampler = samplers.ParallelMALA(
        logdensity_fn, D, T, row.max_iterations, window_size=T, basis_transformation=whitened
    )
    basis, guess = jnp.eye(D), jax.random.normal(jax.random.fold_in(row.key, 1), (T, D))
    if whitened:
        x = jnp.asarray(row.case.as_rows(row.case.reference)[0][WARMUP], x0.dtype)
        hessian = jax.hessian(logdensity_fn)(x)
        basis, guess = jnp.linalg.svd(basis + step_size * hessian)[0], jnp.broadcast_to(x0, (T, D))
    key = jax.random.fold_in(row.key, 2)
    settings = {"step_size": step_size, "key": key, "basis": basis, "target_params": {}}
    return sampler.run_parallel_mala, (row.key, x0, guess, settings)


def gibbs(row: Theirs) -> tuple[Callable, tuple]:
    """Their solver on our steps, as theirs are in a script."""
    from src import deer

    transition, state = row.case.problem.transition, row.case.state
    f, x0 = recursion(transition), transition.ravel(state)

    def solve(x0, guess, key):
        inputs = transition.draw_inputs(jax.random.split(key, row.T), state)
        return deer.seq1d(
            lambda x, u, _: f(x, u), x0, inputs, {}, yinit_guess=guess,
            max_iter=row.max_iterations, quasi=False, qmem_efficient=False,
        )  # fmt: skip

    return solve, (x0, jnp.broadcast_to(x0, (row.T, x0.size)), row.key)


ROWS: dict[str, tuple[int, Callable]] = {
    "banana": (100_000, lambda row, data: hmc(row, targets.banana())),
    "mixture": (100_000, lambda row, data: mala(row, targets.mixture(), 0.5, False)),
    "eight schools, conjugate": (9_999, lambda row, data: gibbs(row)),
    "German credit": (2_048, lambda row, data: mala(row, credit_target(data), 0.0015, True)),
}
"""T and ``(row, path of the data) -> (their function, its arguments)``."""


def rows(options: Options, part: str) -> Iterator[Row]:
    """Solvers of an example together, as their programs are timed in turn."""
    if options.reference is None or not (options.reference / "src" / "samplers.py").is_file():
        print("Skipped: give --reference, a checkout of the paper's code.", flush=True)
        return
    for example in paper.EXAMPLES:
        T, build = ROWS[example.target]
        named = {f"{example.target}/{example.kernel}/{T}/{solver}": solver for solver in NAMES}
        selected = {name: solver for name, solver in named.items() if options.selected(name)}
        if selected:
            name, solvers = next(iter(selected)), list(selected.values())
            measure = partial(measured, example, T, build, solvers, options)
            yield Row(example.target, example.kernel, T, "", measure, only=name)


def measured(
    example: Example, T: int, build: Callable, solvers: list[str], options: Options
) -> list[Record]:
    assert options.reference is not None
    case = prepare(example.build(options.data), T, 1, options.seed)
    key = jax.random.split(jax.random.key(options.seed))[1]  # of the randomness: see `prepare`
    with lent(options.reference), jax.default_matmul_precision("highest"):
        function, arguments = build(Theirs(case, T, key, options.max_iterations), options.data)
        theirs = compile_for(function, *arguments)
    transition = case.problem.transition
    loop, *ours = (
        compile_for(drawing(transition, T, solve), case.state, key)
        for solve in (
            partial(pm.run_sequential, transition, transform=keep_position),
            *(solving(transition, options.limited(SOLVERS[name])) for name in solvers),
        )
    )
    iterations = int(np.max(theirs()[-1]))
    results = [program() for program in (loop, *ours)][1:]
    of_theirs, of_loop, *times = in_turn([theirs, loop, *ours], options)
    return [
        {
            "solver": name,
            "reference_commit": commit_of(options.reference),
            "iterations_reference": iterations,
            "converged_reference": iterations < options.max_iterations,
            "max_iterations": options.max_iterations,
            **of_solve(info),
            **compared(case, history),
            **cost(theirs, of_theirs, "_reference"),
            **cost(loop, of_loop, "_sequential"),
            **cost(program, seconds),
        }
        for name, program, (history, info), seconds in zip(
            solvers, ours, results, times, strict=True
        )
    ]


def drawing(transition: pm.Transition, T: int, run: Callable) -> Callable:
    """A run from the start and a key, which draws its randomness."""
    return lambda state, key: run(state, transition.draw_inputs(jax.random.split(key, T), state))
