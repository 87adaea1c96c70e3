"""The arguments of each of the models of users, by its name: published, or simulated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def baseball() -> tuple:
    """Of eighteen players in 1970 (Efron and Morris 1975)."""
    hits = [18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7.0]
    return np.full(18, 45.0), np.array(hits)


baseball_logits = baseball


def admissions() -> tuple:
    """Twelve counts (Bickel et al. 1975)."""
    applied = np.array([825, 108, 560, 25, 325, 593, 417, 375, 191, 393, 373, 341.0])
    admitted = np.array([512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24.0])
    return np.repeat(np.arange(6), 2), np.tile([1.0, 0.0], 6), applied, admitted


def lotka_volterra() -> tuple:
    """In thousands, 1900 to 1920, of the Hudson's Bay Company."""
    hares = [
        30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5,
        11.2, 7.6, 14.6, 16.2, 24.7,
    ]  # fmt: skip
    lynxes = [
        4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7,
        15.8, 9.7, 10.1, 8.6,
    ]  # fmt: skip
    return (np.stack([hares, lynxes], axis=-1),)


def standardised(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / y.std()


def stochastic_volatility() -> tuple:
    rng = np.random.default_rng(4)
    log_volatility = np.cumsum(0.1 * rng.normal(size=300)) - 4
    return (np.exp(log_volatility) * rng.standard_t(8, size=300),)


def gaussian_process() -> tuple:
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 30)
    return x, standardised(x + np.sin(4 * x) * (0.5 + x) ** 2 / 2 + 0.15 * rng.normal(size=30))


def horseshoe() -> tuple:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(50, 32))
    return X, X[:, :3] @ [1, -1.5, 0.8] + 0.3 * rng.normal(size=50)


def infected(beta: Any, gamma: Any, start: Any, days: int) -> Any:
    """Of an epidemic, by four Runge-Kutta steps of a quarter of a day."""

    def flow(z):
        new = beta * z[0] * z[1]
        return jnp.stack([-new, new - gamma * z[1]])

    def quarter(z, _):
        h = 0.25
        k1 = flow(z)
        k2 = flow(z + h / 2 * k1)
        k3 = flow(z + h / 2 * k2)
        k4 = flow(z + h * k3)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    def day(z, _):
        z, _ = jax.lax.scan(quarter, z, None, length=4)
        return z, z[1]

    return jax.lax.scan(day, jnp.stack([1 - start, start]), None, length=days)[1]


def epidemic() -> tuple:
    mean = 763 * np.asarray(infected(0.6, 0.25, 0.005, 30))
    return (np.random.default_rng(7).poisson(mean),)


def ordinal() -> tuple:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(200, 2))
    return X, np.digitize(X @ [1, -0.5] + rng.logistic(size=200), [-1.5, 0, 1, 2.5])


def random_slopes() -> tuple:
    rng = np.random.default_rng(9)
    group = np.repeat(np.arange(20), 10)
    x = rng.normal(size=200)
    effects = rng.multivariate_normal([1, 0.5], [[0.5, 0.2], [0.2, 0.3]], 20)[group]
    return group, x, effects[:, 0] + effects[:, 1] * x + 0.5 * rng.normal(size=200)


def neural_network() -> tuple:
    rng = np.random.default_rng(10)
    X = np.linspace(-1, 1, 60)[:, None] ** np.arange(3)
    y = X @ [0.3, 0.5, -0.4] + 0.5 * np.sin(4 * X[:, 1]) + 0.05 * rng.normal(size=60)
    return X, standardised(y)


def enumerated_mixture() -> tuple:
    rng = np.random.default_rng(11)
    return (np.concatenate([rng.normal(-2, 1, 80), rng.normal(2.5, 0.7, 50)]),)


def capture_recapture() -> tuple:
    rng = np.random.default_rng(12)
    seen = np.zeros((60, 7), np.int32)
    for animal in seen:
        first = rng.integers(0, 6)
        alive = np.arange(7) < first + rng.geometric(0.3)
        animal[:] = alive & (np.arange(7) > first) & (rng.random(7) < 0.6)
        animal[first] = 1
    return (seen,)


def holt_winters() -> tuple:
    t = np.arange(120)
    noise = 0.2 * np.random.default_rng(13).normal(size=120)
    return (standardised(0.05 * t + np.sin(2 * np.pi * t / 12) + noise),)


def radon() -> tuple:
    rng = np.random.default_rng(14)
    county = rng.integers(0, 85, 600)
    floor = rng.integers(0, 2, 600).astype(float)
    y = (1.5 + 0.3 * rng.normal(size=85))[county] - 0.7 * floor + 0.75 * rng.normal(size=600)
    return county, floor, y
