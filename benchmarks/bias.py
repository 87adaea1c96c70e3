"""From a cold start to a small error of second moments, with as many chains as there are helpers.

Gradients that follow one another, adaptation included, as in LAPS (arXiv:2601.16696), until

    b2 = max_i (m_i - E x_i^2)^2 / Var x_i^2  <  0.01

and stays there, m_i the mean of x_i^2 over all chains and their draws so far. The helpers of
`pm.parallel_adaptation` go on as chains of HMC over a quarter period, with jitter, step by step. In
64 bit.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.measure import Options, Row
from benchmarks.published import read, scalars
from benchmarks.records import Record
from benchmarks.warmups import Density, density_of, over_a_quarter_period, warmed_up

NUM_STEPS, NUM_CHAINS, NUM_DRAWS = 2_000, 64, 100
"""Steps of the warm-up at most; chains; draws of each."""

LARGEST_BIAS = 0.01

PUBLISHED = {
    "banana": "19",
    "normal, D = 100": "310",
    "german_credit_sparse": "330-440",
    "brownian_motion": "210",
    "item_response": "180",
    "stochastic_volatility": "1,500-1,900",
}
"""LAPS with 4,096 chains, as its authors' repository has it."""

Target = tuple[Density, dict[str, float]]
"""With the second moments, by scalar."""


def by_index(draws: Any) -> dict[str, np.ndarray]:
    return dict(scalars({"x": draws}))


def banana() -> Target:
    def logdensity_fn(x):
        return -(x[0] ** 2) / 200 - (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2 / 2

    return Density(logdensity_fn, jnp.zeros(2), by_index), {"x[1]": 100.0, "x[2]": 19.0}


def normal(D: int = 100) -> Target:
    """With variances from 1 to 1,000 along axes that lie anywhere."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    variances = np.logspace(0, 3, D)
    precision, covariance = axes @ (axes / variances).T, axes @ (axes * variances).T

    def logdensity_fn(x):
        return -x @ jnp.asarray(precision) @ x / 2

    moments = {f"x[{i + 1}]": covariance[i, i] for i in range(D)}
    return Density(logdensity_fn, jnp.zeros(D), by_index), moments


def of_gym(name: str, options: Options) -> Target:
    posterior = read(name, options.data)
    assert posterior.reference is not None
    moments = {k: m["mean"] ** 2 + m["sd"] ** 2 for k, m in posterior.reference.items()}
    return density_of(posterior), moments


def rows(options: Options, part: str) -> Iterator[Row]:
    for name in PUBLISHED:
        yield Row(name, "HMC", NUM_DRAWS, "", partial(measured, name, options), only=name)


def measured(name: str, options: Options) -> Record:
    made: dict[str, Callable[[], Target]] = {"banana": banana, "normal, D = 100": normal}
    density, second_moments = made[name]() if name in made else of_gym(name, options)
    key_pool, key_draws = jax.random.split(jax.random.key(options.seed))
    warmup = pm.parallel_adaptation(blackjax.nuts, density.logdensity_fn)
    parameters, pool = warmed_up(warmup, key_pool, density, NUM_STEPS)
    kernel, num_leapfrogs = over_a_quarter_period(density.logdensity_fn, parameters)
    trace = pm.sample(
        key_draws, kernel, pool.positions, NUM_DRAWS, num_chains=NUM_CHAINS, solver=pm.sequential()
    )
    bias = biases(density.scalars_of(trace.position), second_moments)
    num_draws, warmup_gradients = first_small(bias), int(pool.num_gradients)
    return {
        "chains": NUM_CHAINS, "D": density.dim, "settled": bool(pool.settled),
        "warmup_gradients": warmup_gradients, "leapfrogs": num_leapfrogs, "num_draws": num_draws,
        "num_gradients": num_draws and warmup_gradients + 1 + num_draws * num_leapfrogs,
        "bias_of_one": float(bias[0]), "bias_of_all": float(bias[-1]),
        "published": PUBLISHED[name],
    }  # fmt: skip


def biases(draws: dict[str, np.ndarray], second_moments: dict[str, float]) -> np.ndarray:
    """b2 after each draw; the variance of x_i^2 is that of all draws."""
    each = []
    for name, moment in second_moments.items():
        squares = draws[name] ** 2
        means = np.cumsum(squares.mean(axis=0)) / np.arange(1, squares.shape[1] + 1)
        each.append((means - moment) ** 2 / squares.var())
    return np.max(each, axis=0)


def first_small(bias: np.ndarray) -> int | None:
    """Draws of each chain from which on it is small; None if it is not so in the end."""
    large = np.flatnonzero(bias >= LARGEST_BIAS)
    num_draws = int(large[-1]) + 2 if large.size else 1
    return num_draws if num_draws <= len(bias) else None
