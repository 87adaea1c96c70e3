"""Recursions that punish a solve for being nearly right, by every solver, precision and window.

A combination is a recursion, its randomness, a solver, a precision and a window. Its chain is
equal to the sequential one, or differs and was told of (then it was finished step by step), or
differs in silence, which must not happen. Where a recursion is chaotic no two programs agree, and
each step is held to f of the state before it.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.records import Record
from benchmarks.runs import Options, selected

T, CHAINS = 1_000, 12
SOLVERS = {
    "deer": pm.deer(),
    "quasi-deer": pm.quasi_deer(),
    "picard": pm.picard(),
    "jacobi": pm.jacobi(),
}
WINDOWS = (None, 128)


class Recursion(NamedTuple):
    """x_t = f(x_{t-1}, u_t) with u_t two uniform numbers.

    Attributes:
        start: x_0.
        is_chaotic: whether perturbations grow.
    """

    f: Callable
    start: float = 0.0
    is_chaotic: bool = False


def reflected(n, u):
    return jnp.where(n == 0, n + 1, jnp.where(u[0] < 0.45, n + 1, n - 1))


def queue(n, u):
    return n + jnp.floor(2 * u[0]) - (n > 0) * jnp.floor(2.2 * u[1])


def queue_of_numbers(x, u):
    return x + u[0] - (x > 0) * u[1] * 1.1


def reset(n, u):
    step = jnp.where(n == 3, 2.0, jnp.where(u[1] < 0.5, 1.0, -1.0))
    return jnp.where(u[0] < 0.02, 0.0, n + step)


def drawn_anew(n, u):
    return jnp.where(u[0] < 0.05, jnp.floor(10 * u[1]), jnp.where(n > 5, n - 1, n + 1))


def modulo(n, u):
    return jnp.mod(n + jnp.floor(3 * u[0]), 7.0)


def births_and_deaths(n, u):
    return jnp.where(n <= 0, 1.0, jnp.where(u[0] < n / (n + 5), n - 1, n + 1))


def in_fifths(x, u):
    return jnp.where(x == 0, x + 0.2, jnp.where(u[0] < 0.5, x + 0.2, x - 0.2))


def fires_at_quarters(x, u):
    return jnp.where(x >= 1, 0.0, x + 0.25 * (u[0] < 0.5))


def fires_at_tenths(x, u):
    return jnp.where(x >= 1, 0.0, x + 0.1 * (u[0] < 0.5))


def saturating(x, u):
    return jnp.clip(x + 0.3 * (u[0] - 0.5), 0, 1)


def kicked(x, u):
    return jnp.where(jnp.abs(x) < 1e-3, jnp.sign(u[0] - 0.5) * 2, 0.9 * x)


def forgetting_slowly(x, u):
    return 0.97 * x + u[0] - 0.5


def tiny_steps(x, u):
    """Metropolis around 1e6 in steps of an ulp of float32 or two."""
    y = x + 0.2 * (u[0] - 0.5)
    return jnp.where(jnp.log(u[1]) < jnp.sum((x - 1e6) ** 2 - (y - 1e6) ** 2) / 2, y, x)


def logistic_map(x, u):
    return 3.9 * x * (1 - x)


RECURSIONS = {
    f.__name__: Recursion(f, start, f is logistic_map)
    for f, start in [
        *((f, 0.0) for f in (
            reflected, queue, queue_of_numbers, reset, drawn_anew, modulo, births_and_deaths,
            in_fifths, fires_at_quarters, fires_at_tenths, saturating, kicked, forgetting_slowly,
        )),
        (tiny_steps, 1e6),
        (logistic_map, 0.3),
    ]
}  # fmt: skip


def run_torture(options: Options) -> Iterator[Record]:
    """The records, one by one: for all chains of a recursion, precision, solver and window."""
    for name, recursion in RECURSIONS.items():
        for dtype in ("float32", "float64"):
            for solver in SOLVERS:
                for window in WINDOWS:
                    if selected(f"{name}/{dtype}/{solver}/{window}/", options):
                        with jax.enable_x64(dtype == "float64"):
                            yield run_one(name, recursion, dtype, solver, window, options)


def run_one(
    name: str, recursion: Recursion, dtype: str, solver: str, window: int | None, options: Options
) -> Record:
    keys = jax.random.split(jax.random.key(options.seed), CHAINS)
    inputs = jax.vmap(lambda key: jax.random.uniform(key, (T, 2), dtype))(keys)
    x0 = jnp.full(1, recursion.start, dtype)

    def solve(solver, window):
        def one(u):
            return pm.solve(
                recursion.f, x0, u, solver=solver, window=window,
                max_iterations=options.max_iterations,
            )  # fmt: skip

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pm.ConvergenceWarning)
            return jax.block_until_ready(jax.jit(jax.vmap(one))(inputs))

    solution = solve(SOLVERS[solver], window)
    x, info = np.asarray(solution.trajectory), solution.info
    if recursion.is_chaotic:
        before = jnp.concatenate([jnp.broadcast_to(x0, (CHAINS, 1, 1)), x[:, :-1]], axis=1)
        expected = np.asarray(jax.jit(jax.vmap(jax.vmap(recursion.f)))(before, inputs))
    else:
        expected = np.asarray(solve(pm.sequential(), None).trajectory)
    # A residual of some ulp of the spread is remembered for up to T steps.
    allowed = T * np.finfo(dtype).eps * expected.std()
    same = np.all(np.abs(x - expected) <= allowed, axis=(1, 2))
    told = np.asarray(info.status) != pm.Status.CONVERGED
    return {
        "suite": "torture",
        "target": name,
        "kernel": "each step by itself" if recursion.is_chaotic else "whole chain",
        "T": T,
        "chains": CHAINS,
        "solver": solver,
        "window": window,
        "dtype": dtype,
        "seed": options.seed,
        "num_equal": int(same.sum()),
        "num_told": int((~same & told).sum()),
        "num_silent": int((~same & ~told).sum()),
        "num_solved": int((~told).sum()),
        "num_exact": int(np.all(x == expected, axis=(1, 2)).sum()),
        "num_trembling": int(np.max(info.num_trembling)),
        "iterations": int(np.max(info.num_iterations)),
    }
