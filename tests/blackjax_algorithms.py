"""Algorithms of BlackJAX, and of our own with state types that no table knows."""

from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.base import SamplingAlgorithm

NUM_STEPS = 60


def logdensity_fn(x):
    return -jnp.sum(x["a"] ** 2) / 2 - (x["b"] - 1) ** 2


START = {"a": np.array([0.5, -0.5]), "b": np.float64(0.0)}
HMC = blackjax.hmc(logdensity_fn, 0.3, np.ones(3), 4)


# Kernels of our own, with state types that no table knows ---------------------------------


class Position(NamedTuple):
    """All of it follows from the position."""

    position: Any
    logdensity: Any


class Persistent(NamedTuple):
    """The momentum goes on from step to step."""

    position: Any
    momentum: Any


class Counted(NamedTuple):
    position: Any
    count: Any


class Nothing(NamedTuple):
    """The info of a step that has none."""


def rebuildable():
    def init(position, rng_key=None):
        return Position(position, -jnp.sum(position**2) / 2)

    def step(rng_key, state):
        noise = jax.random.normal(rng_key, state.position.shape)
        return init(0.5 * jnp.sin(state.position) + noise), Nothing()

    return SamplingAlgorithm(init, step)


def persistent():
    def init(position, rng_key=None):
        return Persistent(position, jnp.zeros_like(position))

    def step(rng_key, state):
        momentum = 0.7 * state.momentum + jax.random.normal(rng_key, state.position.shape)
        return Persistent(0.5 * jnp.sin(state.position) + momentum, momentum), Nothing()

    return SamplingAlgorithm(init, step)


def counted():
    def init(position, rng_key=None):
        return Counted(position, jnp.zeros((), jnp.int64))

    def step(rng_key, state):
        noise = jax.random.normal(rng_key, state.position.shape)
        return Counted(0.5 * state.position + noise, state.count + 1), Nothing()

    return SamplingAlgorithm(init, step)
