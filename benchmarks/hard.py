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
from benchmarks.problem import Example, Problem, credit_target
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


def normal(precision: np.ndarray, unit: float) -> Hard:
    def logdensity_fn(x):
        return -x @ jnp.asarray(precision, x.dtype) @ x / 2

    return Hard(logdensity_fn, jnp.ones(len(precision)), unit)


def scaled_normal(data: Path) -> Hard:
    return normal(np.diag(np.logspace(-1, 1, 10) ** -2.0), 0.1)


def ill_conditioned_normal(data: Path) -> Hard:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    return normal(rotation @ np.diag(np.logspace(0, 4, 10)) @ rotation.T, 0.01)


def wide_normal(data: Path) -> Hard:
    return normal(np.eye(100), 1.0)


def autoregressive_normal(data: Path, D: int = 50) -> Hard:
    """Neighbours are correlated by 0.9."""
    distance = np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    return normal(np.linalg.inv(0.9**distance), 0.23)


def student_t(data: Path) -> Hard:
    """10 unknowns, 3 degrees of freedom."""

    def logdensity_fn(x):
        return -(3 + x.size) / 2 * jnp.log1p(jnp.sum(x**2) / 3)

    return Hard(logdensity_fn, jnp.ones(10), 1.0)


def funnel(data: Path) -> Hard:
    """Neal 2003: v ~ Normal(0, 3), 9 unknowns x_i ~ Normal(0, exp(v / 2))."""

    def logdensity_fn(q):
        v, x = q["v"], q["x"]
        return -(v**2) / 18 - 9 * v / 2 - jnp.sum(x**2) * jnp.exp(-v) / 2

    return Hard(logdensity_fn, {"v": jnp.zeros(()), "x": jnp.ones(9)}, 0.5)


def non_centred_funnel(data: Path) -> Hard:
    def logdensity_fn(q):
        return -(q["v"] ** 2) / 18 - jnp.sum(q["z"] ** 2) / 2

    return Hard(logdensity_fn, {"v": jnp.zeros(()), "z": jnp.ones(9)}, 1.0)


def logistic(data: Path) -> Hard:
    target = TARGETS["logistic"]
    return Hard(target.logdensity_fn, target.position, 0.3)


def whitened_logistic(data: Path) -> Hard:
    return logistic(data)._replace(unit=1.0, inverse_mass_matrix=SCALE["logistic"] ** 2)


def german_credit(data: Path) -> Hard:
    target = credit_target(data)
    return Hard(target.logdensity_fn, target.position, 0.085)


def mixture(data: Path) -> Hard:
    target = targets.mixture()
    return Hard(target.logdensity_fn, target.position, 1.0)


def banana(data: Path) -> Hard:
    target = targets.banana()
    return Hard(target.logdensity_fn, target.position, 1.0)


def eight_schools(data: Path) -> Hard:
    target = targets.eight_schools()
    return Hard(target.logdensity_fn, target.position, 0.9)


def centred_eight_schools(data: Path) -> Hard:
    """The same posterior, for theta in place of z = (theta - mu) / tau."""
    target = targets.eight_schools()

    def logdensity_fn(q):
        tau = jnp.exp(q["log_tau"])
        z = (q["theta"] - q["mu"]) / tau
        return target.logdensity_fn({**q, "z": z}) - q["theta"].size * q["log_tau"]

    position = {"mu": jnp.zeros(()), "log_tau": jnp.ones(()), "theta": jnp.ones(8)}
    return Hard(logdensity_fn, position, 0.9)


def item_response(data: Path) -> Hard:
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


def random_walk(hard: Hard) -> pm.Transition:
    D = ravel_pytree(hard.position)[0].size
    sd = 1.0 if hard.inverse_mass_matrix is None else np.sqrt(hard.inverse_mass_matrix)
    return pm.random_walk(hard.logdensity_fn, hard.unit * sd * 2.4 / D**0.5).at(hard.position)


def mala(hard: Hard) -> pm.Transition:
    D = ravel_pytree(hard.position)[0].size
    step_size = 0.6 * hard.unit**2 / D ** (1 / 3)
    return pm.mala(hard.logdensity_fn, step_size, hard.inverse_mass_matrix).at(hard.position)


def hmc(hard: Hard) -> pm.Transition:
    D = ravel_pytree(hard.position)[0].size
    step_size = 0.4 * hard.unit / D**0.25
    return pm.hmc(hard.logdensity_fn, step_size, hard.inverse_mass_matrix, 8).at(hard.position)


def nuts(hard: Hard) -> pm.Transition:
    import blackjax

    flat = ravel_pytree(hard.position)[0]
    metric = hard.inverse_mass_matrix
    metric = jnp.ones_like(flat) if metric is None else jnp.asarray(metric, flat.dtype)
    step_size = 0.4 * hard.unit / flat.size**0.25
    algorithm = blackjax.nuts(hard.logdensity_fn, step_size, metric, max_num_doublings=6)
    return pm.from_blackjax(algorithm).at(hard.position)


KERNELS = {"random walk": random_walk, "MALA": mala, "HMC, 8 steps": hmc, "NUTS": nuts}

HARD: dict[str, Callable[[Path], Hard]] = {
    "logistic": logistic,
    "logistic, whitened": whitened_logistic,
    "German credit": german_credit,
    "mixture": mixture,
    "banana": banana,
    "eight schools": eight_schools,
    "eight schools, centred": centred_eight_schools,
    "funnel": funnel,
    "funnel, non-centred": non_centred_funnel,
    "normal, sd .1 to 10": scaled_normal,
    "normal, condition 1e4": ill_conditioned_normal,
    "normal, D = 100": wide_normal,
    "normal, AR(1) of .9": autoregressive_normal,
    "Student-t(3)": student_t,
    "item response, D = 500": item_response,
}


def example(target: str, kernel: str) -> Example:
    def build(data: Path) -> Problem:
        hard = HARD[target](data)
        return Problem(KERNELS[kernel](hard), lambda key: hard.position)

    length = min(SHORT.get(key, T) for key in (target, kernel, (target, kernel)))
    return Example(target, kernel, (length,), {}, build)


EXAMPLES = tuple(example(target, kernel) for target in HARD for kernel in KERNELS)
