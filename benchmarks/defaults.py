"""Chains of 4,096 steps that the solvers should take few iterations for, with defaults only."""

from pathlib import Path

import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks import examples
from benchmarks.problems import Example, Problem
from parallel_mcmc import targets

T = 4_096


def eight_schools(data: Path) -> Problem:
    target = targets.eight_schools()
    transition = pm.hmc(target.logdensity_fn, target.position, 0.3, num_integration_steps=6)
    return Problem(transition, lambda key: target.position)


def mixture_from_the_origin(data: Path) -> Problem:
    """Between the four modes, where the density has a saddle."""
    return examples.mixture(data)._replace(start=lambda key: {"x": jnp.zeros(2)})


def standard_normal(x):
    return -jnp.sum(x**2) / 2


def quarter_period(data: Path) -> Problem:
    """Eight leapfrog steps of 0.2, and pi / 2 is 1.57."""
    start = jnp.zeros(10)
    transition = pm.hmc(standard_normal, start, 0.2, num_integration_steps=8)
    return Problem(transition, lambda key: start)


def mala(data: Path) -> Problem:
    """At a step size that accepts 0.88 of the proposals."""
    start = jnp.zeros(10)
    return Problem(pm.mala(standard_normal, start, 0.35), lambda key: start)


EXAMPLES = (
    Example("banana", "HMC, step 0.5 x 8", (T,), {T: 99}, examples.banana),
    Example("eight schools", "HMC, step 0.3 x 6", (T,), {T: 79}, eight_schools),
    Example("mixture", "MALA, step 0.5", (T,), {T: 79}, examples.mixture),
    Example("mixture, from the origin", "MALA, step 0.5", (T,), {T: 79}, mixture_from_the_origin),
    Example("normal, D = 10", "HMC, step 0.2 x 8", (T,), {T: 11}, quarter_period),
    Example("normal, D = 10", "MALA, step 0.35", (T,), {T: 13}, mala),
)
