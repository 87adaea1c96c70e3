"""Recursions for `auto` to choose a solver for, and pilots of them."""

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from parallel_mcmc._core.pilot import pilot

GPU = pm.auto(platform="gpu")
MIX = np.array([[0.6, 0.5, 0.0], [-0.5, 0.6, 0.3], [0.0, 0.2, 0.7]], np.float32)
NOISE = jax.random.normal(jax.random.key(0), (400, 3))
KEY = jax.random.key(0)


def forgets(x, u):
    return 0.001 * jnp.tanh(x) + u


def diagonal(x, u):
    return 0.99 * x + u


def rotates(x, u):
    return 1.1 * MIX.astype(x.dtype) @ x + u


def expands(x, u):
    return 4 * jnp.sin(3 * x[::-1]) + u


def pilot_of(f):
    """How a pilot is run, and with what."""
    calls = []

    def attempt(solver, num_steps):
        calls.append(solver.name)
        return pilot(f, jnp.zeros(3), NOISE[:num_steps], solver)

    return attempt, calls
