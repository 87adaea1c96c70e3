"""Kernels on targets, and the tables of them that the paper's suite runs.

`EXAMPLES` are the four that were measured on the reference implementation of arXiv:2508.18413, at
its lengths and step sizes, with the iterations that it took as the aim; `PAPER` every experiment of
the paper at its size, but for HMC's leapfrogs, which are `trajectories`; `DEFAULTS` chains that the
solvers should take few iterations for, with defaults only.

The paper's sentiment experiment is on embeddings that are not public: 25,000 rows of 1,024 numbers
are drawn in their place.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks import hard, schools
from benchmarks.problem import Example, Problem, credit_target, starting_at
from parallel_mcmc import targets


def banana(data: Path) -> Problem:
    target = targets.banana()
    kernel = pm.hmc(target.logdensity_fn, 0.5, num_integration_steps=8)
    return Problem(kernel.at(target.position), lambda key: {"x": 10 * jax.random.normal(key, (2,))})


def mixture(data: Path) -> Problem:
    target = targets.mixture()
    kernel = pm.mala(target.logdensity_fn, 0.5)
    return Problem(kernel.at(target.position), lambda key: {"x": jax.random.normal(key, (2,))})


def mixture_from_the_origin(data: Path) -> Problem:
    """Between the four modes, where the density has a saddle."""
    return mixture(data)._replace(start=lambda key: {"x": jnp.zeros(2)})


def conjugate_schools(data: Path) -> Problem:
    return Problem(schools.conjugate_schools(), schools.start)


def eight_schools(data: Path) -> Problem:
    target = targets.eight_schools()
    kernel = pm.hmc(target.logdensity_fn, 0.3, num_integration_steps=6)
    return starting_at(kernel, target.position)


def german_credit(data: Path) -> Problem:
    target = credit_target(data)
    kernel = pm.mala(target.logdensity_fn, 0.0015)
    return Problem(
        kernel.at(target.position), lambda key: {"beta": 0.1 * jax.random.normal(key, (25,))}
    )


def standard_normal(x):
    return -jnp.sum(x**2) / 2


def quarter_period(data: Path) -> Problem:
    """Eight leapfrog steps of 0.2, and pi / 2 is 1.57."""
    return starting_at(pm.hmc(standard_normal, 0.2, num_integration_steps=8), jnp.zeros(10))


def normal_mala(data: Path) -> Problem:
    """At a step size that accepts 0.88 of the proposals."""
    return starting_at(pm.mala(standard_normal, 0.35), jnp.zeros(10))


def abilities(data: Path) -> Problem:
    return hard.problem("item response, D = 500", "MALA", data)


def sentiment(data: Path) -> Problem:
    """Logistic regression; the step size is that of a posterior as narrow as 3,000 rows make it."""
    rng, rows, features = np.random.default_rng(0), 25_000, 1_024
    rows_of = rng.standard_normal((rows, features), np.float32)
    start = 2 * rng.standard_normal(features, np.float32) / np.float32(features**0.5)
    labels = rng.random(rows) < 1 / (1 + np.exp(-rows_of @ start))
    X, signs = jnp.asarray(rows_of), jnp.asarray(np.where(labels, 1, -1), jnp.float32)

    def logdensity_fn(beta):
        return jnp.sum(jax.nn.log_sigmoid(signs * (X @ beta))) - jnp.sum(beta**2) / 2

    step_size = 0.6 / 3_000 / features ** (1 / 3)
    return starting_at(pm.mala(logdensity_fn, step_size), jnp.asarray(start))


MIXTURE = "mixture", "MALA, step 0.5"
BANANA = "banana", "HMC, step 0.5 x 8"
GIBBS = "eight schools, conjugate", "Gibbs"
NORMAL_HMC = "normal, D = 10", "HMC, step 0.2 x 8"
CREDIT = "German credit", "MALA, step 0.0015"
CREDIT_LENGTHS = dict.fromkeys((1_024, 2_048, 4_096, 16_384))

EXAMPLES = (
    Example(*BANANA, {10_000: 107, 100_000: 139}, banana),
    Example(*MIXTURE, {100_000: 97}, mixture),
    Example(*GIBBS, {9_999: 37}, conjugate_schools),
    Example(*CREDIT, {1_024: 17, 2_048: 17, 4_096: 18, 16_384: 26}, german_credit),
)

# The most telling first: a run may be stopped by --minutes.
PAPER = (
    Example(*MIXTURE, {100_000: None}, mixture),
    Example(*GIBBS, {10_000: None}, conjugate_schools, gradients=0),
    Example(*BANANA, {100_000: None}, banana, gradients=8),
    Example(*CREDIT, CREDIT_LENGTHS, german_credit),
    Example(*CREDIT, CREDIT_LENGTHS, german_credit, chains=4),
    Example("item response, D = 500", "MALA", {1_024: None}, abilities),
    Example("logistic, 25,000 x 1,024", "MALA", {512: None}, sentiment, window=128),
)

DEFAULTS = (
    Example(*BANANA, {4_096: 99}, banana),
    Example("eight schools", "HMC, step 0.3 x 6", {4_096: 79}, eight_schools),
    Example(*MIXTURE, {4_096: 79}, mixture),
    Example("mixture, from the origin", MIXTURE[1], {4_096: 79}, mixture_from_the_origin),
    Example(*NORMAL_HMC, {4_096: 11}, quarter_period),
    Example("normal, D = 10", "MALA, step 0.35", {4_096: 13}, normal_mala),
)
