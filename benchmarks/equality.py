"""Every solver with every kind of kernel against the sequential chain, on this device.

A row is equal to it; or it was told of, and finished step by step; or it differs, and then says how
close the first decision was that went the other way. It takes a few seconds, nearly all of them to
compile, which several threads do ahead.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, chains, paper, swap
from benchmarks.compare import as_rows, differences, first_difference
from benchmarks.measure import Options, Program, Row, in_a_line, of_solve
from benchmarks.problem import Chain, Problem, chain_of, starting_at
from benchmarks.records import Record

BLOCKS = "block quasi-deer, 1 probe"
NAMES = (
    "deer", "quasi-deer, 1 probe", "jacobi", "quasi-deer, exact", "elk", "quasi-elk", "picard",
)  # fmt: skip
SOLVERS: dict[str, Any] = {name: chains.SOLVERS[name] for name in NAMES}
SOLVERS[BLOCKS] = pm.block_quasi_deer()


class Kernel(NamedTuple):
    """A kernel on a target.

    Attributes:
        target, name: for the record.
        T: length of the chain.
        build: ``(path of data, T, solver) -> Chain``; raises `ImportError` without its library.
        solvers: those that apply.
    """

    target: str
    name: str
    T: int
    build: Callable[[Path, int, pm.Solver], Chain]
    solvers: tuple[str, ...] = NAMES


def start_of_logistic() -> Any:
    """In the precision of the moment."""
    position = blackjax_kernels.TARGETS["logistic"].position
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), position)


def random_walk(data: Path) -> Problem:
    kernel = pm.random_walk(blackjax_kernels.TARGETS["logistic"].logdensity_fn, 0.5)
    return starting_at(kernel, start_of_logistic())


def blackjax_hmc(data: Path) -> Problem:
    position = start_of_logistic()
    algorithm = blackjax_kernels.make("hmc", "logistic", position)
    return starting_at(pm.from_blackjax(algorithm), position)


def pendulum(data: Path, T: int, solver: pm.Solver) -> Chain:
    """Of three angles, pushed at random: the blocks of its Jacobians are diagonal."""

    def f(x, push):
        q, p = x
        p = 0.95 * (p - 0.1 * jnp.sin(q)) + push
        return q + 0.1 * p, p

    def run(x0, pushes):
        solution = pm.solve(f, x0, pushes, solver=solver)
        return solution.trajectory, solution.info

    def arguments():
        pushes = 0.05 * jax.random.normal(jax.random.key(0), (T, 3))
        return (jnp.zeros(3), jnp.zeros(3)), pushes

    return Chain(run, arguments)


MALA, HMC, GIBBS, WALK = "MALA, step 0.5", "HMC, step 0.3 x 6", "Gibbs", "random walk"
BLACKJAX, LEAPFROG = "BlackJAX HMC", "leapfrog steps"
OURS, NUMPYRO = swap.OURS, swap.NUMPYRO

KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("mixture", MALA, 1_000, chain_of(paper.mixture)),
        Kernel("eight schools", HMC, 1_000, chain_of(paper.eight_schools)),
        Kernel("eight schools, conjugate", GIBBS, 500, chain_of(paper.conjugate_schools)),
        Kernel(swap.TARGET, OURS, 500, swap.under(pm.MCMC)),
        Kernel("logistic", WALK, 300, chain_of(random_walk)),
        Kernel("logistic", BLACKJAX, 500, chain_of(blackjax_hmc)),
        Kernel(swap.TARGET, NUMPYRO, 500, swap.under(numpyro.infer.MCMC)),
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
        (kernel, names[(i + shift) % len(names)])
        for shift in range(len(names))
        for i, kernel in enumerate(KERNELS)
    ]
    others = [
        (kernel, solver)
        for kernel, solver in in_turn
        if solver in KERNELS[kernel].solvers and (kernel, solver) not in MOST_TELLING
    ]
    halves = list(MOST_TELLING), others
    return [(dtype, pairs) for pairs in halves for dtype in ("float32", "float64")]


def rows(options: Options, most_steps: int = 1_000) -> Iterator[Row]:
    """Of chains of ``most_steps`` at most."""
    for dtype, pairs in combinations():
        before = jax.config.read("jax_enable_x64")
        jax.config.update("jax_enable_x64", dtype == "float64")  # of all threads
        try:
            yield from of_one_precision(dtype, pairs, options, most_steps)
        finally:
            jax.config.update("jax_enable_x64", before)


Ready = tuple[Chain, Program]
TRACING = threading.Lock()
"""NumPyro's handlers are kept in one list of the process."""


def of_one_precision(
    dtype: str, pairs: list[tuple[str, str]], options: Options, most_steps: int
) -> Iterator[Row]:
    threads = max(1, min(6, (os.cpu_count() or 1) // 2))
    sequential: dict[str, Future[Ready]] = {}
    ahead: list[tuple[Row, Future[Ready]]] = []
    with ThreadPoolExecutor(threads) as pool:

        def begun(name: str, solver: str) -> tuple[Row, "Future[Ready]"]:
            kernel = KERNELS[name]
            T = min(kernel.T, most_steps)
            if name not in sequential:
                sequential[name] = pool.submit(ready, kernel, pm.sequential(), T)
            solve = pool.submit(ready, kernel, SOLVERS[solver], T)
            measure = partial(measured, solve, sequential[name])
            only = f"{kernel.target}/{name}/{dtype}/{solver}/"
            return Row(kernel.target, name, T, solver, measure, only), solve

        try:
            for name, solver in pairs:
                if options.selected(f"{KERNELS[name].target}/{name}/{dtype}/{solver}/"):
                    ahead.append(begun(name, solver))
                if len(ahead) > threads:
                    yield ahead.pop(0)[0]
            while ahead:
                yield ahead.pop(0)[0]
        finally:  # where time is up
            for future in [*sequential.values(), *(solve for _, solve in ahead)]:
                future.cancel()


def ready(kernel: Kernel, solver: pm.Solver, T: int) -> Ready:
    with TRACING:
        chain = kernel.build(Path(), T, solver)
        arguments = jax.jit(chain.arguments)()
        lowered = jax.jit(chain.run).lower(*arguments)
    return chain, Program(lowered.compile(), arguments, 0.0)


def measured(solve: "Future[Ready]", sequential: "Future[Ready]") -> Record:
    """Of a row that could not be run, too."""
    try:
        return compared(*solve.result(), sequential.result()[1])
    except ImportError:
        raise
    except Exception as error:  # of whatever kind: the other rows are wanted all the same
        return {"outcome": "failed", "reason": in_a_line(error)}


def compared(chain: Chain, solve: Program, sequential: Program) -> Record:
    (positions, _), (history, info) = sequential(), solve()
    rows = as_rows(history)
    found, report = differences(rows, as_rows(positions)), of_solve(info)
    differs = found["num_steps_differ"] > 0
    told = report["status"] != pm.Status.CONVERGED.name
    outcome = "told" if told else "differs" if differs else "equal"
    if differs and chain.transition is not None:
        found |= first_difference(chain.transition, *solve.arguments, rows, positions)
    return {"outcome": outcome, **found, **report}
