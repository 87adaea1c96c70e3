"""Four small posteriors, for the command line, the benchmarks and the tests."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

GERMAN_CREDIT_URL = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/statlog/german/german.data-numeric"
)


EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
STANDARD_ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
"""Of coaching in eight schools (Rubin 1981)."""


class Target(NamedTuple):
    """A log density, where to start, and what to report.

    Attributes:
        name: for reports.
        logdensity_fn: of a position, up to a constant.
        position: where to start.
        constrain: position to the quantities of interest, by name.
    """

    name: str
    logdensity_fn: Callable[[Any], Float[Array, ""]]
    position: dict[str, Array]
    constrain: Callable[[dict[str, Array]], dict[str, Array]] = dict


def eight_schools() -> Target:
    """Effects of coaching in eight schools (Rubin 1981), non-centred.

    mu ~ Normal(0, 5), tau ~ HalfCauchy(5), theta = mu + tau z with z ~ Normal(0, 1), and
    y ~ Normal(theta, sigma); solved for mu, log tau and z.
    """

    def constrain(x):
        tau = jnp.exp(x["log_tau"])
        return {"mu": x["mu"], "tau": tau, "theta": x["mu"] + tau * x["z"]}

    def logdensity_fn(x):
        q = constrain(x)
        y, sigma = (jnp.asarray(a, x["z"].dtype) for a in (EFFECTS, STANDARD_ERRORS))
        log_prior = (
            -((q["mu"] / 5) ** 2) / 2
            - jnp.log1p((q["tau"] / 5) ** 2)
            + x["log_tau"]  # the change of variables
            - jnp.sum(x["z"] ** 2) / 2
        )
        return log_prior - jnp.sum(((y - q["theta"]) / sigma) ** 2) / 2

    start = {"mu": jnp.zeros(()), "log_tau": jnp.zeros(()), "z": jnp.zeros(8)}
    return Target("eight-schools", logdensity_fn, start, constrain)


def german_credit(path: str | Path) -> Target:
    """Logistic regression on the numeric German credit data (Hofmann 1994), 25 coefficients.

    The file has 1,000 rows of 24 features and a class, 1 or 2. Features are standardised, an
    intercept is added, the label is 1 for class 2, coefficients are Normal(0, 1).

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it holds something else.
    """
    table = read_german_credit(path)
    features = (table[:, :-1] - table[:, :-1].mean(0)) / table[:, :-1].std(0)
    return logistic_regression(
        "german-credit", np.hstack([features, np.ones((len(table), 1))]), table[:, -1] == 2
    )


def read_german_credit(path: str | Path) -> np.ndarray:
    """The table as it is in the file, once it is known to be that table."""
    with open(path, encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file if line.strip()]
    try:
        table = np.array(lines, float)
        matches = (
            table.ndim == 2
            and table.shape[1] == 25
            and np.all(np.isfinite(table))
            and np.all(table.std(0) > 0)
            and np.all(np.isin(table[:, -1], [1, 2]))
        )
    except ValueError:
        matches = False
    if not matches:
        raise ValueError(
            f"{path} is not the numeric German credit table: expected rows of 24 numbers that vary "
            "and a class, 1 or 2."
        )
    return table


def fetch_german_credit(url: str) -> Path:
    """The German credit table from its public home, downloaded once into the user's cache folder.

    Raises:
        OSError: if it cannot be downloaded, or not be written.
        ValueError: if what arrives is not that table. Nothing is kept then.
    """
    # Imported here because half a dozen modules come with it.
    from urllib.request import urlopen

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parallel_mcmc"
    path = folder / "german.data-numeric"
    if not path.exists():
        with urlopen(url, timeout=30) as response:
            content = response.read()
        folder.mkdir(parents=True, exist_ok=True)
        # Under a name of its own until it is whole and known to be right.
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            arrived = Path(temporary) / path.name
            arrived.write_bytes(content)
            read_german_credit(arrived)
            arrived.replace(path)
    return path


def logistic_regression(name: str, features: np.ndarray, labels: np.ndarray) -> Target:
    """Labels ~ Bernoulli(sigmoid(features beta)), beta ~ Normal(0, 1)."""
    signed = np.where(labels, 1.0, -1.0)[:, None] * features

    def logdensity_fn(x):
        beta = x["beta"]
        logits = jnp.asarray(signed, beta.dtype) @ beta
        return jnp.sum(jax.nn.log_sigmoid(logits)) - jnp.sum(beta**2) / 2

    return Target(name, logdensity_fn, {"beta": jnp.zeros(features.shape[1])})


def mixture() -> Target:
    """Four unit normals in the plane, centred at (+-2, +-2)."""
    means = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])

    def logdensity_fn(x):
        centres = jnp.asarray(means, x["x"].dtype)
        return jax.nn.logsumexp(-jnp.sum((x["x"] - centres) ** 2, axis=-1) / 2)

    return Target("mixture", logdensity_fn, {"x": jnp.ones(2)})


def banana() -> Target:
    """x1 ~ Normal(0, 10), x2 ~ Normal(0.03 (x1^2 - 100), 1): Haario, Saksman and Tamminen 1999."""

    def logdensity_fn(x):
        x1, x2 = x["x"]
        return -((x1 / 10) ** 2) / 2 - (x2 - 0.03 * (x1**2 - 100)) ** 2 / 2

    return Target("banana", logdensity_fn, {"x": jnp.ones(2)})
