"""The four examples that were measured on the reference implementation of arXiv:2508.18413.

At its lengths and step sizes, with the iterations it took as the aim.
"""

from pathlib import Path

import jax

import parallel_mcmc as pm
from benchmarks import schools
from benchmarks.problems import Example, Problem
from parallel_mcmc import targets


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
    Example("banana", "HMC, step 0.5 x 8", (10_000, 100_000), {10_000: 107, 100_000: 139}, banana),
    Example("mixture", "MALA, step 0.5", (100_000,), {100_000: 97}, mixture),
    Example("eight schools, conjugate", "Gibbs", (9_999,), {9_999: 37}, eight_schools),
    Example(
        "German credit",
        "MALA, step 0.0015",
        (1_024, 2_048, 4_096, 16_384),
        {1_024: 17, 2_048: 17, 4_096: 18, 16_384: 26},
        german_credit,
    ),
)
