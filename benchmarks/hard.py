"""Targets that are hard in different ways, by three kernels of ours and one of BlackJAX's.

The step sizes follow from one length per target, its smallest standard deviation, by the usual
powers of the number of unknowns; they are not tuned to any solver.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import parallel_mcmc as pm
from benchmarks.blackjax_kernels import SCALE, TARGETS
from benchmarks.problem import Example, Problem, credit_target, starting_at
from parallel_mcmc import targets

T = 4_096
SHORT: dict[Any, int] = {
    "NUTS": 1_024,
    "German credit": 1_024,
    "normal, AR(1) of .9": 1_024,
    "normal, D = 100": 1_024,
    "item response, D = 500": 128,
    ("German credit", "NUTS"): 64,
    ("item response, D = 500", "NUTS"): 64,
}
"""Shorter chains, of kernels, targets and pairs of them whose single steps take long."""


class Hard(NamedTuple):
    """A log density, where to start, and the length that the step sizes follow from.

    Attributes:
        unit: smallest standard deviation, in the coordinates of the metric.
        inverse_mass_matrix: None for the identity.
    """

    logdensity_fn: Callable[[Any], Any]
    position: Any
    unit: float
    inverse_mass_matrix: Any = None


def of(target: targets.Target, unit: float) -> Hard:
    return Hard(target.logdensity_fn, target.position, unit)


def normal(precision: np.ndarray, unit: float) -> Hard:
    def logdensity_fn(x):
        return -x @ jnp.asarray(precision, x.dtype) @ x / 2

    return Hard(logdensity_fn, jnp.ones(len(precision)), unit)


def ill_conditioned_normal() -> Hard:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    return normal(rotation @ np.diag(np.logspace(0, 4, 10)) @ rotation.T, 0.01)


def autoregressive_normal(D: int) -> Hard:
    """Neighbours are correlated by 0.9."""
    distance = np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    return normal(np.linalg.inv(0.9**distance), 0.23)


def student_t() -> Hard:
    """10 unknowns, 3 degrees of freedom."""

    def logdensity_fn(x):
        return -(3 + x.size) / 2 * jnp.log1p(jnp.sum(x**2) / 3)

    return Hard(logdensity_fn, jnp.ones(10), 1.0)


def funnel() -> Hard:
    """Neal 2003: v ~ Normal(0, 3), 9 unknowns x_i ~ Normal(0, exp(v / 2))."""

    def logdensity_fn(q):
        v, x = q["v"], q["x"]
        return -(v**2) / 18 - 9 * v / 2 - jnp.sum(x**2) * jnp.exp(-v) / 2

    return Hard(logdensity_fn, {"v": jnp.zeros(()), "x": jnp.ones(9)}, 0.5)


def non_centred_funnel() -> Hard:
    def logdensity_fn(q):
        return -(q["v"] ** 2) / 18 - jnp.sum(q["z"] ** 2) / 2

    return Hard(logdensity_fn, {"v": jnp.zeros(()), "z": jnp.ones(9)}, 1.0)


def whitened_logistic() -> Hard:
    return of(TARGETS["logistic"], 1.0)._replace(inverse_mass_matrix=SCALE["logistic"] ** 2)


def centred_eight_schools() -> Hard:
    """The same posterior, for theta in place of z = (theta - mu) / tau."""
    target = targets.eight_schools()

    def logdensity_fn(q):
        tau = jnp.exp(q["log_tau"])
        z = (q["theta"] - q["mu"]) / tau
        return target.logdensity_fn({**q, "z": z}) - q["theta"].size * q["log_tau"]

    position = {"mu": jnp.zeros(()), "log_tau": jnp.ones(()), "theta": jnp.ones(8)}
    return Hard(logdensity_fn, position, 0.9)


def item_response() -> Hard:
    """Rasch model: 399 abilities, 100 difficulties and their common log scale; 39,900 answers."""
    rng = np.random.default_rng(0)
    ability, difficulty = rng.normal(size=(399, 1)), rng.normal(size=100)
    answers = rng.random((399, 100)) < 1 / (1 + np.exp(difficulty - ability))

    def logdensity_fn(q):
        logits = q["ability"][:, None] - jnp.exp(q["log_scale"]) * q["z"]
        signs = jnp.where(jnp.asarray(answers), 1.0, -1.0).astype(logits.dtype)
        log_prior = -(jnp.sum(q["ability"] ** 2) + jnp.sum(q["z"] ** 2) + q["log_scale"] ** 2) / 2
        return log_prior + jnp.sum(jax.nn.log_sigmoid(signs * logits))

    position = {"ability": jnp.zeros(399), "log_scale": jnp.zeros(()), "z": jnp.zeros(100)}
    return Hard(logdensity_fn, position, 0.1)


HARD: dict[str, Callable[[Path], Hard]] = {
    "logistic": lambda data: of(TARGETS["logistic"], 0.3),
    "logistic, whitened": lambda data: whitened_logistic(),
    "German credit": lambda data: of(credit_target(data), 0.085),
    "mixture": lambda data: of(targets.mixture(), 1.0),
    "banana": lambda data: of(targets.banana(), 1.0),
    "eight schools": lambda data: of(targets.eight_schools(), 0.9),
    "eight schools, centred": lambda data: centred_eight_schools(),
    "funnel": lambda data: funnel(),
    "funnel, non-centred": lambda data: non_centred_funnel(),
    "normal, sd .1 to 10": lambda data: normal(np.diag(np.logspace(-1, 1, 10) ** -2.0), 0.1),
    "normal, condition 1e4": lambda data: ill_conditioned_normal(),
    "normal, D = 100": lambda data: normal(np.eye(100), 1.0),
    "normal, AR(1) of .9": lambda data: autoregressive_normal(50),
    "Student-t(3)": lambda data: student_t(),
    "item response, D = 500": lambda data: item_response(),
}
"""By name, of the path of the data."""


def random_walk(hard: Hard, D: int) -> pm.Kernel:
    sd = 1.0 if hard.inverse_mass_matrix is None else np.sqrt(hard.inverse_mass_matrix)
    return pm.random_walk(hard.logdensity_fn, hard.unit * sd * 2.4 / D**0.5)


def mala(hard: Hard, D: int) -> pm.Kernel:
    step_size = 0.6 * hard.unit**2 / D ** (1 / 3)
    return pm.mala(hard.logdensity_fn, step_size, hard.inverse_mass_matrix)


def hmc(hard: Hard, D: int) -> pm.Kernel:
    step_size = 0.4 * hard.unit / D**0.25
    return pm.hmc(hard.logdensity_fn, step_size, hard.inverse_mass_matrix, 8)


def nuts(hard: Hard, D: int) -> pm.Kernel:
    import blackjax

    metric = jnp.ones(D) if hard.inverse_mass_matrix is None else hard.inverse_mass_matrix
    step_size = 0.4 * hard.unit / D**0.25
    return pm.from_blackjax(
        blackjax.nuts(
            hard.logdensity_fn, step_size, jnp.asarray(metric, float), max_num_doublings=6
        )
    )


KERNELS = {"random walk": random_walk, "MALA": mala, "HMC, 8 steps": hmc, "NUTS": nuts}


def problem(target: str, kernel: str, data: Path) -> Problem:
    hard = HARD[target](data)
    D = ravel_pytree(hard.position)[0].size
    return starting_at(KERNELS[kernel](hard, D), hard.position)


def example(target: str, kernel: str) -> Example:
    length = min(SHORT.get(key, T) for key in (target, kernel, (target, kernel)))
    return Example(target, kernel, {length: None}, lambda data: problem(target, kernel, data))


EXAMPLES = tuple(example(target, kernel) for target in HARD for kernel in KERNELS)
