"""Every experiment of arXiv:2508.18413, at its size; HMC's leapfrogs are the suite `trajectories`.

The sentiment experiment's embeddings are not public data: 25,000 rows of 1,024 numbers are drawn in
their place, unless ``embeddings.npz``, with arrays ``X`` and ``y``, lies beside the German credit
table.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks import examples
from benchmarks.hard import item_response, mala
from benchmarks.problems import Example, Problem

ROWS, FEATURES = 25_000, 1_024


def abilities(data: Path) -> Problem:
    hard = item_response(data)
    return Problem(mala(hard), lambda key: hard.position)


def embeddings(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, answers 0 and 1, and where the chain starts."""
    path = data.parent / "embeddings.npz"
    if path.is_file():
        with np.load(path) as arrays:
            X = np.asarray(arrays["X"], np.float32)
            return X, np.asarray(arrays["y"]), np.zeros(X.shape[1], np.float32)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, FEATURES), np.float32)
    beta = 2 * rng.standard_normal(FEATURES, np.float32) / np.float32(FEATURES**0.5)
    return X, rng.random(ROWS) < 1 / (1 + np.exp(-X @ beta)), beta


def sentiment(data: Path) -> Problem:
    """Logistic regression; the step size is that of a posterior as narrow as 3,000 rows make it."""
    X, y, start = embeddings(data)
    X, signs = jnp.asarray(X), jnp.asarray(np.where(y, 1, -1), X.dtype)

    def logdensity_fn(beta):
        return jnp.sum(jax.nn.log_sigmoid(signs * (X @ beta))) - jnp.sum(beta**2) / 2

    step_size = 0.6 / 3_000 / X.shape[1] ** (1 / 3)
    return Problem(pm.mala(logdensity_fn, start, step_size), lambda key: jnp.asarray(start))


def german_credit(chains: int) -> Example:
    return Example(
        "German credit", "MALA, step 0.0015", (1_024, 2_048, 4_096, 16_384), {},
        examples.german_credit, chains,
    )  # fmt: skip


# The most telling first: a run may be stopped by --minutes.
EXAMPLES = (
    Example("mixture", "MALA, step 0.5", (100_000,), {}, examples.mixture),
    Example("eight schools, conjugate", "Gibbs", (10_000,), {}, examples.eight_schools, 1, None, 0),
    Example("banana", "HMC, step 0.5 x 8", (100_000,), {}, examples.banana, gradients=8),
    german_credit(1),
    german_credit(4),
    Example("item response, D = 500", "MALA", (1_024,), {}, abilities),
    Example("logistic, 25,000 x 1,024", "MALA", (512,), {}, sentiment, window=128),
)
