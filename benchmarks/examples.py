"""What is run: the problems, as a table, and the solvers.

The suite ``examples`` holds the four that were measured on the reference implementation of
arXiv:2508.18413, at its lengths and step sizes, with the iterations it took as the aim.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import parallel_mcmc as pm
from benchmarks import schools
from parallel_mcmc import Solver, Transition, targets


class Problem(NamedTuple):
    """A kernel with its target, and ``rng_key -> position`` for where a chain starts."""

    transition: Transition
    start: Callable[[Any], Any]


class Example(NamedTuple):
    """One row of the table.

    Attributes:
        target, kernel: for the record.
        lengths: the T to run.
        aims: iterations to stay within, by T.
        build: ``(path of the data) -> Problem``; raises `FileNotFoundError` where it needs
            data that are not there.
    """

    target: str
    kernel: str
    lengths: tuple[int, ...]
    aims: dict[int, int]
    build: Callable[[Path], Problem]


def banana(data: Path) -> Problem:
    target = targets.banana()
    return Problem(
        pm.hmc(target.logdensity_fn, target.position, 0.5, num_integration_steps=8),
        lambda key: {"x": 10 * jax.random.normal(key, (2,))},
    )


def mixture(data: Path) -> Problem:
    target = targets.mixture()
    return Problem(
        pm.mala(target.logdensity_fn, target.position, 0.5),
        lambda key: {"x": jax.random.normal(key, (2,))},
    )


def eight_schools(data: Path) -> Problem:
    return Problem(schools.conjugate_schools(), schools.start)


def german_credit(data: Path) -> Problem:
    if not data.is_file():
        raise FileNotFoundError(f"the German credit data are not at {data}; give --data")
    target = targets.german_credit(data)
    return Problem(
        pm.mala(target.logdensity_fn, target.position, 0.0015),
        lambda key: {"beta": 0.1 * jax.random.normal(key, (25,))},
    )


EXAMPLES = (
    Example("banana", "HMC, step 0.5 x 8", (10_000, 100_000), {10_000: 107}, banana),
    Example("mixture", "MALA, step 0.5", (100_000,), {100_000: 97}, mixture),
    Example("eight schools, conjugate", "Gibbs", (9_999,), {9_999: 37}, eight_schools),
    Example(
        "German credit",
        "MALA, step 0.0015",
        (1_024, 2_048, 4_096, 16_384),
        {2_048: 17},
        german_credit,
    ),
)

SUITES: dict[str, tuple[Example, ...]] = {"examples": EXAMPLES}

SOLVERS: dict[str, Solver] = {
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
    "quasi-deer, exact": pm.quasi_deer(pm.exact_diagonal()),
    "jacobi": pm.jacobi(),
    "picard": pm.picard(),
}
