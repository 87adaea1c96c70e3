"""A kernel for tests of `pm.sample`, and what chains are held against."""

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm

NUM_SAMPLES = 60
ATOL = 1e-8
"""A tolerance of 1e-10 of the spread at each step, with some 10 steps of memory."""


def logdensity_fn(x):
    return -jnp.sum(x**2) / 2


MALA = pm.mala(logdensity_fn, 0.4)


def assert_same(actual, expected, atol=ATOL):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)
