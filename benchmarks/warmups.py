"""Warm-up in parallel on twelve reference posteriors, beside BlackJAX's one step after the other.

Gradients that must follow one another before the first draw, and seconds, of both; and draws of HMC
with what the first one found, from four of its helpers, against the reference. In 64 bit.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from numpyro.infer.util import initialize_model

import parallel_mcmc as pm
from benchmarks.measure import Options, Row, timed
from benchmarks.posteriordb import POSTERIORDB
from benchmarks.published import Posterior, against_reference, read, scalars
from benchmarks.records import Record
from parallel_mcmc._numpyro.hmc import STEP_SIZE_JITTER

NUM_STEPS, NUM_CHAINS, NUM_DRAWS = 1_000, 4, 1_000


class Density(NamedTuple):
    """Of the unconstrained unknowns of a model: where it is zero, and draws of it by scalar."""

    logdensity_fn: Callable
    position: Any
    scalars_of: Callable[[Any], dict]

    @property
    def dim(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.position))


def density_of(posterior: Posterior) -> Density:
    info = initialize_model(jax.random.key(0), posterior.model, model_args=posterior.arguments)

    def scalars_of(draws):
        return dict(scalars(jax.vmap(jax.vmap(info.postprocess_fn))(draws)))

    position = jax.tree.map(jnp.zeros_like, info.param_info.z)
    return Density(lambda z: -info.potential_fn(z), position, scalars_of)


def warmed_up(warmup: Any, rng_key: Any, density: Density, num_steps: int) -> tuple[dict, Any]:
    """Parameters and the pool of helpers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        (_, parameters), pool = warmup.run(rng_key, density.position, num_steps)
    return parameters, pool


def over_a_quarter_period(logdensity_fn: Callable, parameters: dict) -> tuple[pm.Kernel, int]:
    """HMC with what a warm-up has found and the jitter of `ParallelHMC`, and its leapfrog steps."""
    step_size, matrix = parameters["step_size"], parameters["inverse_mass_matrix"]
    num_leapfrogs = min(256, math.ceil(math.pi / 2 / float(step_size)))
    kernel = pm.hmc(
        logdensity_fn, step_size, matrix, num_leapfrogs, step_size_jitter=STEP_SIZE_JITTER
    )
    return kernel, num_leapfrogs


def rows(options: Options, part: str) -> Iterator[Row]:
    for name in POSTERIORDB:
        yield Row(name, "HMC", NUM_DRAWS, "", partial(measured, name, options), only=name)


def measured(name: str, options: Options) -> Record:
    posterior = read(name, options.data)
    density = density_of(posterior)
    _, key_pool, key_one, key_draws = jax.random.split(jax.random.key(options.seed), 4)
    warmup = pm.parallel_adaptation(blackjax.nuts, density.logdensity_fn)
    parameters, pool = warmed_up(warmup, key_pool, density, NUM_STEPS)
    one_by_one = nuts_of(key_one, density)
    num_one_by_one = int(one_by_one())
    programs = {
        "seconds": lambda: warmed_up(warmup, key_pool, density, NUM_STEPS)[1],
        "seconds_one_by_one": one_by_one,
    }
    starts = jax.tree.map(lambda leaf: leaf[:NUM_CHAINS], pool.positions)
    kernel, _ = over_a_quarter_period(density.logdensity_fn, parameters)
    trace = pm.sample(
        key_draws, kernel, starts, NUM_DRAWS, num_chains=NUM_CHAINS, solver=pm.sequential()
    )
    assert posterior.reference is not None
    errors = against_reference(posterior.reference, density.scalars_of(trace.position))
    return {
        "chains": NUM_CHAINS, "D": density.dim, "settled": bool(pool.settled),
        "num_gradients": int(pool.num_gradients), "num_rounds": int(pool.num_rounds),
        "rhat": float(pool.rounds.rhat[-1]), "step_size": float(parameters["step_size"]),
        "num_gradients_one_by_one": num_one_by_one,
        **timed(programs, options),
        **errors._asdict(),
    }  # fmt: skip


def nuts_of(rng_key: Any, density: Density) -> Callable:
    """A warm-up of NUTS by BlackJAX from a start as of one helper; it gives its leapfrog steps."""
    key_start, key = jax.random.split(rng_key)
    x, unravel = jax.flatten_util.ravel_pytree(density.position)
    start = unravel(jax.random.uniform(key_start, x.shape, x.dtype, -2, 2))
    warmup = blackjax.window_adaptation(
        blackjax.nuts, density.logdensity_fn, is_mass_matrix_diagonal=False,
        adaptation_info_fn=lambda _, info, __: info.num_integration_steps,
    )  # fmt: skip
    run = jax.jit(lambda key, start: warmup.run(key, start, NUM_STEPS)[1].sum())
    return lambda: run(key, start)
