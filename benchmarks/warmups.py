"""Warm-up in parallel on twelve reference posteriors, beside BlackJAX's one step after the other.

What counts is the critical path: gradients that must follow one another before the first draw. Of
`pm.parallel_adaptation` they are counted as they are made, of `blackjax.window_adaptation` with
NUTS as the leapfrog steps of its 1,000 steps. Seconds are of both, compiled before. With what the
first one found four chains of HMC are run, from four of its helpers, and held against the
reference.

    python -m benchmarks run --suite warmups --float64
"""

import math
import warnings
from collections.abc import Callable, Iterator

import blackjax
import jax
import jax.numpy as jnp
from numpyro.infer.util import initialize_model

import parallel_mcmc as pm
from benchmarks.measure import Options, header, in_turn, spreads
from benchmarks.posteriordb import MODELS, against_reference, posteriors, scalars
from benchmarks.records import Record

NUM_STEPS, NUM_CHAINS, NUM_DRAWS = 1_000, 4, 1_000


def run(options: Options) -> Iterator[Record]:
    """The records, one by one, where the folder of posteriors is beside the data."""
    for name, posterior in posteriors(options):
        yield run_one(posterior, MODELS[name], options)


def run_one(posterior: dict, model, options: Options) -> Record:
    data = posterior["data"]
    key_init, key_pool, key_one, key_draws = jax.random.split(jax.random.key(options.seed), 4)
    info = initialize_model(key_init, model, model_args=(data,))
    position = jax.tree.map(jnp.zeros_like, info.param_info.z)

    def logdensity_fn(position):
        return -info.potential_fn(position)

    warmup = pm.parallel_adaptation(blackjax.nuts, logdensity_fn)
    one_by_one = nuts_of(key_one, logdensity_fn, position)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        (_, parameters), pool = warmup.run(key_pool, position, NUM_STEPS)
        num_one_by_one = int(one_by_one())
        times = in_turn(
            [lambda: warmup.run(key_pool, position, NUM_STEPS), one_by_one],
            options,
        )
    starts = jax.tree.map(lambda leaf: leaf[:NUM_CHAINS], pool.positions)
    kernel, _ = over_a_quarter_period(logdensity_fn, parameters)
    trace = pm.sample(
        key_draws, kernel, starts, NUM_DRAWS, num_chains=NUM_CHAINS, solver=pm.sequential()
    )
    draws = jax.vmap(jax.vmap(info.postprocess_fn))(trace.position)
    dim = sum(leaf.size for leaf in jax.tree.leaves(position))
    return {
        **header(options, posterior["name"], "HMC", NUM_DRAWS, "", chains=NUM_CHAINS),
        "D": dim,
        "settled": bool(pool.settled),
        "num_gradients": int(pool.num_gradients),
        "num_rounds": int(pool.num_rounds),
        "rhat": float(pool.rounds.rhat[-1]),
        "step_size": float(parameters["step_size"]),
        "num_gradients_one_by_one": num_one_by_one,
        **spreads(("seconds", "seconds_one_by_one"), times),
        **against_reference(posterior["reference"], dict(scalars(draws)))._asdict(),
    }


def over_a_quarter_period(logdensity_fn: Callable, parameters: dict) -> tuple[pm.Kernel, int]:
    """HMC with what a warm-up has found, and its leapfrog steps."""
    step_size, matrix = parameters["step_size"], parameters["inverse_mass_matrix"]
    num_leapfrogs = min(256, math.ceil(math.pi / 2 / float(step_size)))
    return pm.hmc(logdensity_fn, step_size, matrix, num_leapfrogs), num_leapfrogs


def nuts_of(rng_key, logdensity_fn, position) -> Callable:
    """A warm-up of NUTS by BlackJAX from a start as of one helper; it gives its leapfrog steps."""
    key_start, key = jax.random.split(rng_key)
    x, unravel = jax.flatten_util.ravel_pytree(position)
    start = unravel(jax.random.uniform(key_start, x.shape, x.dtype, -2, 2))
    warmup = blackjax.window_adaptation(
        blackjax.nuts,
        logdensity_fn,
        is_mass_matrix_diagonal=False,
        adaptation_info_fn=lambda _, info, __: info.num_integration_steps,
    )
    run = jax.jit(lambda key, start: warmup.run(key, start, NUM_STEPS)[1].sum())
    return lambda: run(key, start)
