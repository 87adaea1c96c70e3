"""Recursions that punish a solve for being nearly right, by every solver, precision and window.

Each kind of recursion comes in twelve variants, by a number theta. A combination of variant,
solver, precision and window is equal to the sequential chain; or it was told of, and finished step
by step; or it differs in silence, which must not happen. Where a recursion is chaotic no two
programs agree on the chain, and each step is held to f of the state before it.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.measure import Options
from benchmarks.records import Record
from parallel_mcmc._core.tolerance import grain

T = 1_000
THETAS = np.linspace(0, 1, 12)
SOLVERS = {
    "deer": pm.deer(),
    "quasi-deer": pm.quasi_deer(),
    "picard": pm.picard(),
    "jacobi": pm.jacobi(),
}
WINDOWS = (None, 128)


class Recursion(NamedTuple):
    """A kind of recursion x_t = f(x_{t-1}, u_t, theta), with u_t three uniform numbers.

    Attributes:
        start: x_0.
        is_exact: whether its states are whole numbers, or others that no rounding touches.
        is_chaotic: whether perturbations grow.
        max_iterations: of a solve.
    """

    f: Callable
    start: tuple[float, ...] = (0.0,)
    is_exact: bool = False
    is_chaotic: bool = False
    max_iterations: int = 200


def reflected(n, u, theta):
    return jnp.where(n == 0, n + 1, jnp.where(u[0] < 0.35 + theta / 5, n + 1, n - 1))


def queue(n, u, theta):
    return n + jnp.floor(2 * u[0]) - (n > 0) * jnp.floor((1.8 + theta) * u[1])


def queue_of_numbers(x, u, theta):
    return x + u[0] - (x > 0) * u[1] * (1 + theta / 2)


def reset(n, u, theta):
    step = jnp.where(n == 3, 2.0, jnp.where(u[1] < 0.5, 1.0, -1.0))
    return jnp.where(u[0] < 0.005 + theta / 20, 0.0, n + step)


def drawn_anew(n, u, theta):
    return jnp.where(u[0] < 0.01 + theta / 10, jnp.floor(10 * u[1]), n + jnp.where(n > 5, -1, 1))


def modulo(n, u, theta):
    return jnp.mod(n + jnp.floor(3 * u[0]), jnp.floor(5 + 8 * theta))


def births_and_deaths(n, u, theta):
    return jnp.where(n <= 0, 1.0, jnp.where(u[0] < n / (n + 2 + 6 * theta), n - 1, n + 1))


def large_counts(x, u, theta):
    """A count by thousands whose parity says what a flag shows."""
    n, flag = x
    even = jnp.where(n % 2 == 0, 1.0, 0.0)
    more = jnp.floor(1_000 + 6_000 * theta) * jnp.ceil(3 * u[0])
    return jnp.stack([n + more + even, jnp.where(u[2] < 0.002, even, flag)])


def rounded_down(n, u, theta):
    more = jnp.floor(1e5 + 4e5 * theta) * jnp.floor(9 * u[0] - 3.5)
    return jnp.floor(0.9 * n) + more + jnp.where(n % 2 == 0, 1.0, 0.0)


def quarters(x, u, theta):
    return jnp.where(x >= 1, 0.0, x + 0.25 * (u[0] < 0.3 + theta / 2))


def fractions(x, u, theta):
    """Fractions 1 / n, of which n make one, or nearly."""
    return jnp.where(x >= 1, 0.0, x + (u[0] < 0.5) / jnp.floor(3 + 11 * theta))


def lattice(x, u, theta):
    step = (theta + 0.4) / 4  # a sum and a power of two, which every program rounds alike
    return jnp.where(x == 0, x + step, jnp.where(u[0] < 0.5, x + step, x - step))


def saturating(x, u, theta):
    return jnp.clip(x + (0.1 + theta / 2) * (u[0] - 0.5), 0, 1)


def kicked(x, u, theta):
    return jnp.where(jnp.abs(x) < 1e-3, jnp.sign(u[0] - 0.5) * 2, (0.8 + 0.15 * theta) * x)


def forgetting_slowly(x, u, theta):
    return (0.9 + 0.09 * theta) * x + u[0] - 0.5


def far_from_zero(x, u, theta):
    """As `forgetting_slowly`, with a decision, at up to 1,000 from zero, a thousand spreads."""
    middle = jnp.round(10 ** (3 * theta))
    slope = jnp.where(x > middle + 0.3, 0.97, 0.9)
    return middle + slope * (x - middle) + u[0] - 0.5


def beside_one_far(x, u, theta):
    """One that is up to a thousand spreads from zero moves, and decides about, one that is not."""
    middle = 10 ** (3 * theta)
    far, near = x[0] - middle, x[1]
    slope = jnp.where(far + near > 0.3, 0.97, 0.9)
    return jnp.stack([middle + 0.9 * far + u[0] - 0.5, slope * near + far / 2 + u[1] - 0.5])


def two_scales(x, u, theta):
    """A slow coordinate decides what one of a million times its size does."""
    a, b = x
    a = (0.9 + 0.09 * theta) * a + u[0] - 0.5
    return jnp.stack([a, 0.5 * b + 1e6 * jnp.where(a > 0.2, u[1], -u[1])])


def in_fine_cells(x, u, theta):
    """A number that forgets slowly, in cells of 2^17 grains, says how another one goes."""
    a, b = x
    a = (0.9 + 0.07 * theta) * a + u[0] - 0.5
    cell = jnp.floor(a / (2.0**17 * grain(a.dtype)))
    return jnp.stack([a, 0.5 * b + jnp.where(cell % 2 == 0, u[1], -u[1])])


def counted_beside(x, u, theta):
    """How often a number that forgets slowly was above a bound, until it is reset."""
    a, n = x
    a = (0.9 + 0.09 * theta) * a + u[0] - 0.5
    return jnp.stack([a, jnp.where(u[1] < 0.01, 0.0, n + (a > 0.5))])


def tiny_steps(x, u, theta):
    """Metropolis in steps of some ulp, where 0.06, or 0.12, is one."""
    middle = 1e6 if x.dtype == jnp.float32 else 5e14
    y = x + (0.2 + theta) * (u[0] - 0.5)
    return jnp.where(jnp.log(u[1]) < jnp.sum((x - middle) ** 2 - (y - middle) ** 2) / 2, y, x)


def logistic_map(x, u, theta):
    return (3.6 + 0.39 * theta) * x * (1 - x)


RECURSIONS = {
    recursion.f.__name__: recursion
    for recursion in (
        *(
            Recursion(f, is_exact=True)
            for f in (
                reflected, queue, reset, drawn_anew, modulo, births_and_deaths, quarters,
                rounded_down,
            )
        ),
        Recursion(large_counts, (0.0, 0.0), is_exact=True),
        *(
            Recursion(f)
            for f in (
                queue_of_numbers, fractions, lattice, saturating, kicked, forgetting_slowly,
                far_from_zero,
            )
        ),
        *(Recursion(f, (0.0, 0.0)) for f in (two_scales, counted_beside, beside_one_far)),
        Recursion(in_fine_cells, (0.0, 0.0), max_iterations=T),
        Recursion(tiny_steps, (np.nan,), is_exact=True),
        Recursion(logistic_map, (0.3,), is_chaotic=True),
    )
}  # fmt: skip


def run(options: Options) -> Iterator[Record]:
    """The records, one by one: for all variants of a kind, a precision, a solver and a window."""
    for name in RECURSIONS:
        for dtype in ("float32", "float64"):
            for solver in SOLVERS:
                for window in WINDOWS:
                    if options.selected(f"{name}/{dtype}/{solver}/{window}/"):
                        yield run_one(name, dtype, solver, window, options.seed)


def run_one(name: str, dtype: str, solver: str, window: int | None, seed: int = 0) -> Record:
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
    return {
        "suite": "torture",
        "target": name,
        "kernel": "each step" if recursion.is_chaotic else "the chain, and each step",
        "T": T,
        "chains": len(THETAS),
        "solver": solver,
        "window": window,
        "dtype": dtype,
        "seed": seed,
        "num_equal": int((same & ~told).sum()),
        "num_told": int(told.sum()),
        "num_silent": int((~same & ~told).sum()),
        "num_wrong_when_told": int((~same & told).sum()),
        "num_wrong_steps": int(wrong.sum()),
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
        inputs = u, jnp.full(T, theta)
        return pm.solve(
            case.f,
            case.x0,
            inputs,
            solver=solver,
            window=window,
        )

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
