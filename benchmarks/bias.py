"""From a cold start to a small error of second moments, with as many chains as there are helpers.

The figure of merit of papers on samplers for accelerators, such as LAPS (arXiv:2601.16696):
gradients that follow one another, adaptation included, until

    b2 = max_i (m_i - E x_i^2)^2 / Var x_i^2  <  0.01

and stays there, m_i the mean of x_i^2 over all chains and their draws so far. Here each of the 64
helpers of `pm.parallel_adaptation` goes on as a chain, of HMC over a quarter period, step by step:
with so many chains a few draws of each are enough.

    python -m benchmarks run --suite bias --float64
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import initialize_model

import parallel_mcmc as pm
from benchmarks import posteriordb
from benchmarks.inference_gym import INFERENCE_GYM
from benchmarks.measure import Options, header
from benchmarks.posteriordb import scalars
from benchmarks.records import Record
from benchmarks.warmups import over_a_quarter_period

NUM_STEPS, NUM_CHAINS, NUM_DRAWS = 2_000, 64, 100
"""Gradients of the warm-up at most; chains; draws of each."""

LARGEST_BIAS = 0.01

PUBLISHED = {
    "banana": "19",
    "normal, D = 100": "310",
    "german_credit_sparse": "330-440",
    "brownian_motion": "210",
    "item_response": "180",
}
"""LAPS with 4,096 chains, as its authors' repository has it; of its sixth, see `inference_gym`."""


class Target(NamedTuple):
    """A density, and its second moments by scalar of ``scalars_of(draws)``."""

    name: str
    logdensity_fn: Callable
    position: Any
    second_moments: dict[str, float]
    scalars_of: Callable[[Any], dict[str, np.ndarray]]


def banana() -> Target:
    def logdensity_fn(x):
        return -(x[0] ** 2) / 200 - (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2 / 2

    return Target("banana", logdensity_fn, jnp.zeros(2), {"x[1]": 100.0, "x[2]": 19.0}, by_index)


def normal(D: int = 100) -> Target:
    """With variances from 1 to 1,000 along axes that lie anywhere."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    variances = np.logspace(0, 3, D)
    precision, covariance = axes @ (axes / variances).T, axes @ (axes * variances).T

    def logdensity_fn(x):
        return -x @ jnp.asarray(precision) @ x / 2

    moments = {f"x[{i + 1}]": covariance[i, i] for i in range(D)}
    return Target(f"normal, D = {D}", logdensity_fn, jnp.zeros(D), moments, by_index)


def by_index(draws: Any) -> dict[str, np.ndarray]:
    return {f"x[{i + 1}]": np.asarray(draws[..., i]) for i in range(draws.shape[-1])}


def of_model(name: str, posterior: dict, model: Callable, arguments: tuple) -> Target:
    info = initialize_model(jax.random.key(0), model, model_args=arguments)

    def scalars_of(draws):
        return dict(scalars(jax.vmap(jax.vmap(info.postprocess_fn))(draws)))

    moments = {k: m["mean"] ** 2 + m["sd"] ** 2 for k, m in posterior["reference"].items()}
    position = jax.tree.map(jnp.zeros_like, info.param_info.z)
    return Target(name, lambda z: -info.potential_fn(z), position, moments, scalars_of)


def run(options: Options) -> Iterator[Record]:
    """The records, one by one; those of Inference Gym where its folder is beside the data."""
    for target in (banana(), normal()):
        if options.selected(target.name):
            yield run_one(target, options)
    folder = options.data.parent / "inference_gym"
    for name, file in posteriordb.files(folder, INFERENCE_GYM, options):
        if name in PUBLISHED:
            posterior = posteriordb.read(file)
            model, arguments = INFERENCE_GYM[name](posterior["data"], folder)
            yield run_one(of_model(name, posterior, model, arguments), options)


def run_one(target: Target, options: Options) -> Record:
    key_pool, key_draws = jax.random.split(jax.random.key(options.seed))
    warmup = pm.parallel_adaptation(blackjax.nuts, target.logdensity_fn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        (_, parameters), pool = warmup.run(key_pool, target.position, NUM_STEPS)
    kernel, num_leapfrogs = over_a_quarter_period(target.logdensity_fn, parameters)
    trace = pm.sample(
        key_draws, kernel, pool.positions, NUM_DRAWS, num_chains=NUM_CHAINS, solver=pm.sequential()
    )
    bias = biases(target.scalars_of(trace.position), target.second_moments)
    num_draws = first_small(bias)
    warmup_gradients = int(pool.num_gradients)
    return {
        **header(options, target.name, "HMC", NUM_DRAWS, "", chains=NUM_CHAINS),
        "D": sum(leaf.size for leaf in jax.tree.leaves(target.position)),
        "settled": bool(pool.settled),
        "warmup_gradients": warmup_gradients,
        "leapfrogs": num_leapfrogs,
        "num_draws": num_draws,
        "num_gradients": num_draws and warmup_gradients + 1 + num_draws * num_leapfrogs,
        "bias_of_one": float(bias[0]),
        "bias_of_all": float(bias[-1]),
        "published": PUBLISHED[target.name],
    }


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
