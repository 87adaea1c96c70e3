"""Time and gradients to an effective sample size, beside what a user would run instead.

Each sampler is warmed up and run for T and for T / 4 draws of each chain; the first call of each,
which compiles, counts as the cold start. Time to another number of draws is taken from the line
through both runs, and the number of draws from the effective sample size of the longer one.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blackjax
import jax
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree

from benchmarks import hard
from benchmarks.compare import min_ess
from benchmarks.measure import Options, header, in_turn, spreads
from benchmarks.records import Record
from benchmarks.samplers import SAMPLERS, Target

NUM_DRAWS, LEAST = 4_096, 64
"""Draws of all chains together, and the least of one chain."""


def correlated_normal(data: Path) -> hard.Hard:
    return hard.autoregressive_normal(data, 100)


TARGETS: dict[str, Callable[[Path], hard.Hard]] = {
    "eight schools": hard.eight_schools,
    "normal, D = 100, AR(1) of .9": correlated_normal,
    "German credit": hard.german_credit,
    "item response, D = 500": hard.item_response,
}


def run(options: Options) -> Iterator[Record]:
    """The records, one by one; few chains first."""
    rows = [
        (chains, target, sampler)
        for target in TARGETS
        for sampler, (_, numbers) in SAMPLERS.items()
        for chains in numbers
    ]
    for chains, target, sampler in sorted(rows, key=lambda row: row[0]):
        if not options.selected(f"{target}/{sampler}/{chains}/"):
            continue
        try:
            found = TARGETS[target](options.data)
        except FileNotFoundError as error:
            print(f"{target}: skipped, {error}", flush=True)
            continue
        yield run_one(target, vector_target(found), sampler, chains, options)


def vector_target(found: hard.Hard) -> Target:
    start, unravel = ravel_pytree(found.position)
    return Target(lambda x: found.logdensity_fn(unravel(x)), start)


def first_call(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, compilation included, and the result."""
    begin = time.perf_counter()
    result = jax.block_until_ready(function())
    return time.perf_counter() - begin, result


def run_one(
    target_name: str, target: Target, sampler_name: str, chains: int, options: Options
) -> Record:
    build, _ = SAMPLERS[sampler_name]
    sampler = build(target, chains)
    key_warmup, key_sample = jax.random.split(jax.random.key(options.seed))
    T = max(LEAST, NUM_DRAWS // chains)

    cold_warmup, (state, gradients_warmup) = first_call(lambda: sampler.warmup(key_warmup))
    cold, (draws, gradients) = first_call(lambda: sampler.sample(key_sample, state, T))
    first_call(lambda: sampler.sample(key_sample, state, T // 4))
    times = in_turn(
        [
            lambda: sampler.warmup(key_warmup),
            lambda: sampler.sample(key_sample, state, T),
            lambda: sampler.sample(key_sample, state, T // 4),
        ],
        options,
    )
    names = "seconds_warmup", "seconds", "seconds_quarter"
    return {
        **header(options, target_name, sampler_name, T, sampler.solver(), chains=chains),
        "D": target.start.size,
        "num_warmup": sampler.num_warmup,
        "min_ess": min_ess(list(np.asarray(draws, np.float64))),
        "gradients_warmup": int(gradients_warmup),
        "gradients": int(gradients),
        "seconds_cold_warmup": cold_warmup,
        "seconds_cold": cold,
        **spreads(names, times),
        "numpyro": numpyro.__version__,
        "blackjax": blackjax.__version__,
    }
