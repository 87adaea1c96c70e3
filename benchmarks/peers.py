"""Time and gradients to an effective sample size, beside what a user would run instead.

Each sampler is warmed up and run for T and for T / 4 draws of each chain; the first call of each,
which compiles, counts as the cold start. Time to another number of draws is taken from the line
through both runs, and the number of draws from the effective sample size of the longer one.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import blackjax
import jax
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree

from benchmarks import hard
from benchmarks.compare import min_ess
from benchmarks.measure import Options, Row, seconds_of, timed
from benchmarks.records import Record
from benchmarks.samplers import SAMPLERS, Target

NUM_DRAWS, LEAST = 4_096, 64
"""Draws of all chains together, and the least of one chain."""

TARGETS: dict[str, Callable[[Path], hard.Hard]] = {
    "eight schools": hard.HARD["eight schools"],
    "normal, D = 100, AR(1) of .9": lambda data: hard.autoregressive_normal(100),
    "German credit": hard.HARD["German credit"],
    "item response, D = 500": hard.HARD["item response, D = 500"],
}


def rows(options: Options, part: str) -> Iterator[Row]:
    """Few chains first."""
    numbers = sorted({n for _, several in SAMPLERS.values() for n in several})
    for chains, target, sampler in itertools.product(numbers, TARGETS, SAMPLERS):
        if chains in SAMPLERS[sampler][1]:
            T, name = max(LEAST, NUM_DRAWS // chains), f"{target}/{sampler}/{chains}/"
            measure = partial(measured, target, sampler, T, chains, options)
            yield Row(target, sampler, T, "none", measure, only=name)


def measured(target_name: str, sampler_name: str, T: int, chains: int, options: Options) -> Record:
    found = TARGETS[target_name](options.data)
    start, unravel = ravel_pytree(found.position)
    target = Target(lambda x: found.logdensity_fn(unravel(x)), start)
    sampler = SAMPLERS[sampler_name][0](target, chains)
    key_warmup, key_sample = jax.random.split(jax.random.key(options.seed))

    def warmup():
        return sampler.warmup(key_warmup)

    def sample(num_draws):
        return sampler.sample(key_sample, state, num_draws)

    cold_warmup, (state, gradients_warmup) = seconds_of(warmup)
    cold, (draws, gradients) = seconds_of(lambda: sample(T))
    sample(T // 4)
    programs = {
        "seconds_warmup": warmup,
        "seconds": lambda: sample(T),
        "seconds_quarter": lambda: sample(T // 4),
    }
    return {
        "solver": sampler.solver(), "chains": chains, "D": start.size,
        "num_warmup": sampler.num_warmup, "min_ess": min_ess(list(np.asarray(draws, np.float64))),
        "gradients_warmup": int(gradients_warmup), "gradients": int(gradients),
        "seconds_cold_warmup": cold_warmup, "seconds_cold": cold,
        **timed(programs, options),
        "numpyro": numpyro.__version__, "blackjax": blackjax.__version__,
    }  # fmt: skip
