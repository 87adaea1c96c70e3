"""Recursions that punish a solve for being nearly right, by every solver, precision and window.

Each kind of recursion comes in twelve variants, by a number theta. A combination of variant,
solver, precision and window is equal to the sequential chain; or it was told of, and finished step
by step; or it differs in silence, which must not happen. Where a recursion is chaotic no two
programs agree on the chain, and each step is held to f of the state before it.
"""

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.measure import Options, Row
from benchmarks.records import Record
from benchmarks.recursions import RECURSIONS
from parallel_mcmc._core.tolerance import grain

T = 1_000
THETAS = np.linspace(0, 1, 12)
SOLVERS = {
    "deer": pm.deer(),
    "quasi-deer": pm.quasi_deer(),
    "picard": pm.picard(),
    "jacobi": pm.jacobi(),
    "jacobi, then deer": pm.jacobi(then=pm.deer()),
}
DTYPES, WINDOWS = ("float32", "float64"), (None, 128)


def rows(options: Options, part: str) -> Iterator[Row]:
    for name, dtype, solver, window in itertools.product(RECURSIONS, DTYPES, SOLVERS, WINDOWS):
        compared = "each step" if RECURSIONS[name].is_chaotic else "the chain, and each step"
        measure = partial(measured, name, dtype, solver, window, options.seed)
        yield Row(name, compared, T, solver, measure, only=f"{name}/{dtype}/{solver}/{window}/")


def measured(name: str, dtype: str, solver: str, window: int | None, seed: int = 0) -> Record:
    """All variants of a kind."""
    recursion = RECURSIONS[name]
    with jax.enable_x64(dtype == "float64"):
        case = prepared(name, dtype, seed)
        limited = dataclasses.replace(SOLVERS[solver], max_iterations=recursion.max_iterations)
        solution = solved(case, limited, window)
        x, info = np.asarray(solution.trajectory), solution.info
        wrong = wrong_steps(case, x, recursion.is_exact)
    # The slowest forget by a hundredth a step, and so add up a hundred residuals.
    allowed = 0 if recursion.is_exact else 100 * noise(case.expected)
    same = np.all(np.abs(x - case.expected) <= allowed, axis=(1, 2)) | recursion.is_chaotic
    same &= wrong == 0
    told = np.asarray(info.status) != pm.Status.CONVERGED
    counts = {
        "equal": same & ~told, "told": told, "silent": ~same & ~told,
        "wrong_when_told": ~same & told, "wrong_steps": wrong,
    }  # fmt: skip
    return {
        "chains": len(THETAS),
        "window": window,
        "dtype": dtype,
        **{f"num_{name}": int(np.sum(count)) for name, count in counts.items()},
        "num_trembling": int(np.max(info.num_trembling)),
        "iterations": int(np.max(info.num_iterations)),
    }


class Case(NamedTuple):
    """All variants of a kind: what a solve starts from, and what it must come to.

    Attributes:
        f: ``(x, (u, theta)) -> x``.
        x0, u, thetas: the start, the randomness and the parameters.
        step_by_step: f at the states before, one after the other, compiled.
        expected: the sequential chains.
    """

    f: Callable
    x0: jax.Array
    u: jax.Array
    thetas: jax.Array
    step_by_step: Callable
    expected: np.ndarray


@functools.cache
def prepared(name: str, dtype: str, seed: int) -> Case:
    recursion = RECURSIONS[name]
    keys = jax.random.split(jax.random.key(seed), len(THETAS))
    u = jax.vmap(lambda key: jax.random.uniform(key, (T, 3), dtype))(keys)
    start = jnp.asarray(recursion.start, dtype)
    x0 = jnp.where(jnp.isnan(start), 1e6 if dtype == "float32" else 5e14, start)  # `tiny_steps`

    def f(x, inputs):
        return recursion.f(x, *inputs)

    def again(x, u, theta):
        before = jnp.concatenate([x0[None], x[:-1]])
        return jax.lax.map(lambda row: f(row[0], (row[1], theta)), (before, u))

    step_by_step = jax.jit(jax.vmap(again))
    case = Case(f, x0, u, jnp.asarray(THETAS, dtype), step_by_step, np.zeros(0))
    return case._replace(expected=np.asarray(solved(case, pm.sequential(), None).trajectory))


def solved(case: Case, solver: pm.Solver, window: int | None) -> pm.Solution:
    """All variants, whether they come to an end or are finished."""

    def one(u, theta):
        return pm.solve(case.f, case.x0, (u, jnp.full(T, theta)), solver=solver, window=window)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.ConvergenceWarning)
        return jax.block_until_ready(jax.jit(jax.vmap(one))(case.u, case.thetas))


def wrong_steps(case: Case, x: np.ndarray, is_exact: bool) -> np.ndarray:
    """Of each chain, the steps at which x_t is not f(x_{t-1}, u_t) where that runs step by step."""
    values = np.asarray(case.step_by_step(x, case.u, case.thetas))
    wrong = np.abs(values - x) > (0 if is_exact else 8 * noise(x))
    return np.sum(np.any(wrong, axis=-1), axis=-1)


def noise(x: np.ndarray) -> np.ndarray:
    """Of a step, as `parallel_mcmc._core.tolerance` has it."""
    eps = np.finfo(x.dtype).eps
    return 64 * grain(x.dtype) * x.std(axis=1, keepdims=True) + 4 * eps * np.abs(x)
