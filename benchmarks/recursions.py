"""Recursions x_t = f(x_{t-1}, u_t, theta), with u_t three uniform numbers, that look closely.

A discrete state is wrong as soon as its last bit is; others decide, or count, by a number that
forgets slowly, is far from zero beside its spread, or moves in steps of an ulp.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from parallel_mcmc._core.tolerance import grain


class Recursion(NamedTuple):
    """A kind of recursion.

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


def forgetting(x, u, theta):
    """At a rate from 0.9 to 0.99 a step."""
    return (0.9 + 0.09 * theta) * x + u[0] - 0.5


def reset(n, u, theta):
    step = jnp.where(n == 3, 2.0, jnp.where(u[1] < 0.5, 1.0, -1.0))
    return jnp.where(u[0] < 0.005 + theta / 20, 0.0, n + step)


def large_counts(x, u, theta):
    """A count by thousands whose parity says what a flag shows."""
    n, flag = x
    even = jnp.where(n % 2 == 0, 1.0, 0.0)
    more = jnp.floor(1_000 + 6_000 * theta) * jnp.ceil(3 * u[0])
    return jnp.stack([n + more + even, jnp.where(u[2] < 0.002, even, flag)])


def rounded_down(n, u, theta):
    more = jnp.floor(1e5 + 4e5 * theta) * jnp.floor(9 * u[0] - 3.5)
    return jnp.floor(0.9 * n) + more + jnp.where(n % 2 == 0, 1.0, 0.0)


def lattice(x, u, theta):
    step = (theta + 0.4) / 4  # a sum and a power of two, which every program rounds alike
    return jnp.where(x == 0, x + step, jnp.where(u[0] < 0.5, x + step, x - step))


def far_from_zero(x, u, theta):
    """Forgets slowly, with a decision, at up to 1,000 from zero, a thousand spreads."""
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
    a = forgetting(x[0], u, theta)
    return jnp.stack([a, 0.5 * x[1] + 1e6 * jnp.where(a > 0.2, u[1], -u[1])])


def in_fine_cells(x, u, theta):
    """A number that forgets slowly, in cells of 2^17 grains, says how another one goes."""
    a = (0.9 + 0.07 * theta) * x[0] + u[0] - 0.5
    cell = jnp.floor(a / (2.0**17 * grain(a.dtype)))
    return jnp.stack([a, 0.5 * x[1] + jnp.where(cell % 2 == 0, u[1], -u[1])])


def counted_beside(x, u, theta):
    """How often a number that forgets slowly was above a bound, until it is reset."""
    a = forgetting(x[0], u, theta)
    return jnp.stack([a, jnp.where(u[1] < 0.01, 0.0, x[1] + (a > 0.5))])


def tiny_steps(x, u, theta):
    """Metropolis in steps of some ulp, where 0.06, or 0.12, is one."""
    middle = 1e6 if x.dtype == jnp.float32 else 5e14
    y = x + (0.2 + theta) * (u[0] - 0.5)
    return jnp.where(jnp.log(u[1]) < jnp.sum((x - middle) ** 2 - (y - middle) ** 2) / 2, y, x)


WHOLE = {
    "reflected": lambda n, u, theta: jnp.where(
        n == 0, n + 1, jnp.where(u[0] < 0.35 + theta / 5, n + 1, n - 1)
    ),
    "queue": lambda n, u, theta: (
        n + jnp.floor(2 * u[0]) - (n > 0) * jnp.floor((1.8 + theta) * u[1])
    ),
    "reset": reset,
    "drawn_anew": lambda n, u, theta: jnp.where(
        u[0] < 0.01 + theta / 10, jnp.floor(10 * u[1]), n + jnp.where(n > 5, -1, 1)
    ),
    "modulo": lambda n, u, theta: jnp.mod(n + jnp.floor(3 * u[0]), jnp.floor(5 + 8 * theta)),
    "births_and_deaths": lambda n, u, theta: jnp.where(
        n <= 0, 1.0, jnp.where(u[0] < n / (n + 2 + 6 * theta), n - 1, n + 1)
    ),
    "quarters": lambda x, u, theta: jnp.where(x >= 1, 0.0, x + 0.25 * (u[0] < 0.3 + theta / 2)),
    "rounded_down": rounded_down,
}
NUMBERS = {
    "queue_of_numbers": lambda x, u, theta: x + u[0] - (x > 0) * u[1] * (1 + theta / 2),
    # Fractions 1 / n, of which n make one, or nearly.
    "fractions": lambda x, u, theta: jnp.where(
        x >= 1, 0.0, x + (u[0] < 0.5) / jnp.floor(3 + 11 * theta)
    ),
    "lattice": lattice,
    "saturating": lambda x, u, theta: jnp.clip(x + (0.1 + theta / 2) * (u[0] - 0.5), 0, 1),
    "kicked": lambda x, u, theta: jnp.where(
        jnp.abs(x) < 1e-3, jnp.sign(u[0] - 0.5) * 2, (0.8 + 0.15 * theta) * x
    ),
    "forgetting_slowly": forgetting,
    "far_from_zero": far_from_zero,
}
PAIRS = {
    "two_scales": two_scales,
    "counted_beside": counted_beside,
    "beside_one_far": beside_one_far,
}

RECURSIONS = {
    **{name: Recursion(f, is_exact=True) for name, f in WHOLE.items()},
    "large_counts": Recursion(large_counts, (0.0, 0.0), is_exact=True),
    **{name: Recursion(f) for name, f in NUMBERS.items()},
    **{name: Recursion(f, (0.0, 0.0)) for name, f in PAIRS.items()},
    "in_fine_cells": Recursion(in_fine_cells, (0.0, 0.0), max_iterations=1_000),
    "tiny_steps": Recursion(tiny_steps, (np.nan,), is_exact=True),
    "logistic_map": Recursion(
        lambda x, u, theta: (3.6 + 0.39 * theta) * x * (1 - x), (0.3,), is_chaotic=True
    ),
}
