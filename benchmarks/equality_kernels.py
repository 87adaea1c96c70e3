"""A chain of every kind of kernel, short and small, and the solvers that are to give it.

Of our own kernels, of one of BlackJAX's, and of `ParallelHMC` under NumPyro's class and ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, examples, swap
from benchmarks.problem import Problem
from benchmarks.runs import keep_position

BLOCKS = "block quasi-deer, 1 probe"
SOLVERS: dict[str, pm.Solver] = {
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
    "jacobi": pm.jacobi(),
    "quasi-deer, exact": pm.quasi_deer(pm.exact_diagonal()),
    "elk": pm.elk(),
    "quasi-elk": pm.quasi_elk(),
    "picard": pm.picard(),
    BLOCKS: pm.block_quasi_deer(),
}
ALL_BUT_BLOCKS = tuple(name for name in SOLVERS if name != BLOCKS)


class Chain(NamedTuple):
    """To be compiled: ``run(*arguments)`` gives the positions and a `SolveInfo`."""

    run: Callable
    arguments: tuple
    transition: pm.Transition | None = None


class Kernel(NamedTuple):
    """A kernel on a target.

    Attributes:
        target, name: for the record.
        T: length of the chain.
        build: ``(solver, T) -> Chain``; raises `ImportError` where a library is missing.
        solvers: those that apply.
    """

    target: str
    name: str
    T: int
    build: Callable[[pm.Solver, int], Chain]
    solvers: tuple[str, ...] = ALL_BUT_BLOCKS


def chain_of(problem: Callable[[Path], Problem]) -> Callable[[pm.Solver, int], Chain]:
    def build(solver: pm.Solver, T: int) -> Chain:
        transition, start = problem(Path())
        key_start, key_inputs = jax.random.split(jax.random.key(0))

        @jax.jit
        def arguments():
            state = transition.init(start(key_start), key_start)
            return state, transition.draw_inputs(jax.random.split(key_inputs, T), state)

        def run(state, inputs):
            return pm.run_parallel(
                transition, state, inputs, solver=solver, transform=keep_position
            )[1:]

        return Chain(run, arguments(), transition)

    return build


def start_of_logistic() -> Any:
    """In the precision of the moment."""
    position = blackjax_kernels.TARGETS["logistic"].position
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), position)


def random_walk(data: Path) -> Problem:
    position = start_of_logistic()
    logdensity_fn = blackjax_kernels.TARGETS["logistic"].logdensity_fn
    return Problem(pm.random_walk(logdensity_fn, 0.5).at(position), lambda key: position)


def blackjax_hmc(data: Path) -> Problem:
    position = start_of_logistic()
    algorithm = blackjax_kernels.make("hmc", "logistic", position)
    return Problem(pm.from_blackjax(algorithm).at(position), lambda key: position)


def pendulum(solver: pm.Solver, T: int) -> Chain:
    """Of three angles, pushed at random: the blocks of its Jacobians are diagonal."""

    def f(x, push):
        q, p = x
        p = 0.95 * (p - 0.1 * jnp.sin(q)) + push
        return q + 0.1 * p, p

    def run(x0, pushes):
        solution = pm.solve(f, x0, pushes, solver=solver)
        return solution.trajectory, solution.info

    zeros = jnp.zeros(3)
    return Chain(run, ((zeros, zeros), 0.05 * jax.random.normal(jax.random.key(0), (T, 3))))


def under(mcmc: Callable) -> Callable[[pm.Solver, int], Chain]:
    """A model of NumPyro's, without a warm-up."""

    def build(solver: pm.Solver, T: int) -> Chain:
        sampler = swap.Sampler("", mcmc, solver)
        run, key = swap.run_of(sampler, T, chains=1, seed=0)
        return Chain(run, (key,))

    return build


MALA, HMC, GIBBS, WALK = "MALA, step 0.5", "HMC, step 0.3 x 6", "Gibbs", "random walk"
BLACKJAX, LEAPFROG = "BlackJAX HMC", "leapfrog steps"
OURS, NUMPYRO = "ParallelHMC in pm.MCMC", "ParallelHMC in MCMC"

KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("mixture", MALA, 1_000, chain_of(examples.mixture)),
        Kernel("eight schools", HMC, 1_000, chain_of(examples.eight_schools)),
        Kernel("eight schools, conjugate", GIBBS, 500, chain_of(examples.conjugate_schools)),
        Kernel(swap.TARGET, OURS, 500, under(pm.MCMC)),
        Kernel("logistic", WALK, 300, chain_of(random_walk)),
        Kernel("logistic", BLACKJAX, 500, chain_of(blackjax_hmc)),
        Kernel(swap.TARGET, NUMPYRO, 500, under(numpyro.infer.MCMC)),
        Kernel("pendulum, pushed", LEAPFROG, 1_000, pendulum, (BLOCKS,)),
    )
}

MOST_TELLING = (
    (MALA, "quasi-deer, 1 probe"), (HMC, "jacobi"), (GIBBS, "deer"), (OURS, "jacobi"),
    (WALK, "deer"), (NUMPYRO, "jacobi"), (BLACKJAX, "jacobi"), (LEAPFROG, BLOCKS),
    (MALA, "elk"), (HMC, "quasi-deer, exact"), (GIBBS, "picard"), (MALA, "quasi-elk"),
    (OURS, "deer"),
)  # fmt: skip
"""Each solver and each kernel at least once, most of them as one would combine them."""


def combinations() -> list[tuple[str, list[tuple[str, str]]]]:
    """Precisions, each with pairs of a kernel and a solver; the most telling first, then all."""
    names = list(SOLVERS)
    in_turn = [
        (kernel.name, names[(i + shift) % len(names)])
        for shift in range(len(names))
        for i, kernel in enumerate(KERNELS.values())
    ]
    others = [
        (kernel, solver)
        for kernel, solver in in_turn
        if solver in KERNELS[kernel].solvers and (kernel, solver) not in MOST_TELLING
    ]
    halves = list(MOST_TELLING), others
    return [(dtype, pairs) for pairs in halves for dtype in ("float32", "float64")]
