"""The kernels that the tests go through, by name, on a normal, and a Gibbs sampler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import parallel_mcmc as pm

NUM_STEPS = 64

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.6], [0.0, 0.6, 0.5]])
PRECISION = np.linalg.inv(COVARIANCE)
START = {"a": np.float64(0.3), "b": np.array([-1.0, 0.7])}
METRICS = {"identity": None, "diagonal": np.diag(COVARIANCE), "dense": COVARIANCE}


def gaussian(x):
    """Normal(MEAN, COVARIANCE) of a scalar and a vector, ``a`` before ``b``."""
    d = ravel_pytree(x)[0] - MEAN
    return -d @ PRECISION @ d / 2


KERNELS = {
    "random_walk": lambda: pm.random_walk(gaussian, 0.7).at(START),
    "random_walk-scaled": lambda: pm.random_walk(gaussian, np.sqrt(np.diag(COVARIANCE))).at(START),
    # A quarter of the smallest variance and step sizes below the stability limit: the smallest
    # eigenvalue of the covariance is .29.
    "mala-identity": lambda: pm.mala(gaussian, 0.2).at(START),
    "mala-diagonal": lambda: pm.mala(gaussian, 0.3, METRICS["diagonal"]).at(START),
    "mala-dense": lambda: pm.mala(gaussian, 0.5, METRICS["dense"]).at(START),
    "hmc-identity": lambda: pm.hmc(gaussian, 0.3, None, 5).at(START),
    "hmc-diagonal": lambda: pm.hmc(gaussian, 0.3, METRICS["diagonal"], 5).at(START),
    "hmc-dense": lambda: pm.hmc(gaussian, 0.4, METRICS["dense"], 4, step_size_jitter=0.3).at(START),
}

# A normal with unknown mean and variance, p(mu, variance) = 1 / variance, from the number of
# observations, their mean and the sum of their squared deviations.
COUNT, AVERAGE, SQUARES = 30, 1.5, 60.0
GIBBS_START = {"mu": np.float64(0.0), "variance": np.float64(1.0)}
GIBBS_BLOCKS = (
    pm.GibbsBlock(
        lambda key: jax.random.normal(key),
        lambda x, z: {"mu": AVERAGE + jnp.sqrt(x["variance"] / COUNT) * z},
    ),
    pm.GibbsBlock(
        lambda key: 1 / jax.random.gamma(key, COUNT / 2),
        lambda x, w: {"variance": w * (SQUARES + COUNT * (x["mu"] - AVERAGE) ** 2) / 2},
    ),
)


def assert_same(actual, expected, atol):
    """Leaf by leaf, NaN and infinities in the same places."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=atol, atol=atol)


def run(transition, state, inputs, solver):
    """In parallel, compiled: final state, history, report."""
    solve = functools.partial(pm.run_parallel, transition, solver=solver)
    return jax.jit(solve)(state, inputs)
