"""Real models with the defaults alone: is it right, and how long is the critical path?

Twelve posteriors of posteriordb and four of Inference Gym, with reference moments, and fifteen
models that NumPyro users run, which are held against NUTS. Of each `pm.ParallelHMC` under
`pm.MCMC`, with the solver that an accelerator would get, and NumPyro's NUTS: four chains, 1,000
draws after at most 1,000 steps of warm-up. Gradients are those of the slowest chain that must
follow one another, of NUTS its leapfrog steps.

    python -m benchmarks run --suite posteriors --float64
"""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

import parallel_mcmc as pm
from benchmarks import posteriordb
from benchmarks.inference_gym import INFERENCE_GYM
from benchmarks.measure import Options, header
from benchmarks.posteriordb import scalars
from benchmarks.records import Record
from benchmarks.rewritten import REWRITTEN
from benchmarks.user_models import USER_MODELS

KERNEL = "ParallelHMC in pm.MCMC"
NUM_CHAINS, NUM_WARMUP, NUM_DRAWS = 4, 1_000, 1_000

THINNED = "admissions", "baseball logits", "holt winters"
"""Whose perturbations grow over a quarter period: run once more with ``thinning="auto"``."""

LEAST_DEVIATION = 1e-10
"""Standard deviation below which a scalar is a constant, as the corner of a Cholesky factor."""


class Posterior(NamedTuple):
    """One model with its arguments, and moments to hold draws against, by scalar, or none.

    What it took to write it so, in gradients one after the other, is counted as warm-up of both
    samplers; ``sites_of`` leads from draws of its sites to those of the users' model.
    """

    name: str
    source: str
    model: Callable
    arguments: tuple
    reference: dict[str, dict[str, float]] | None
    thinning: int | str = 1
    num_gradients: int = 0
    sites_of: Callable[[dict], dict] = dict


def posteriors(options: Options) -> Iterator[Posterior]:
    """Those that are selected, and have their data."""
    for name, posterior in posteriordb.posteriors(options):
        yield Posterior(
            name.split("-")[-1], "posteriordb", posteriordb.MODELS[name], (posterior["data"],),
            posterior["reference"],
        )  # fmt: skip
    folder = options.data.parent / "inference_gym"
    for name, file in posteriordb.files(folder, INFERENCE_GYM, options):
        posterior = posteriordb.read(file)
        model, arguments = INFERENCE_GYM[name](posterior["data"], folder)
        yield Posterior(name, "inference gym", model, arguments, posterior["reference"])
    for name, build in USER_MODELS.items():
        rows = [(name, 1)] + [(f"{name}, thinned", "auto")] * (name in THINNED)
        for row, thinning in rows:
            if options.selected(row):
                yield Posterior(row, "users", *build(), None, thinning)
    for row, (name, rewrite) in REWRITTEN.items():
        if options.selected(row):
            model, arguments = USER_MODELS[name]()
            made = rewrite(jax.random.key(options.seed), model, arguments)
            yield Posterior(
                row, "users", made.model, arguments, None, num_gradients=made.num_gradients,
                sites_of=made.sites_of,
            )  # fmt: skip


class Run(NamedTuple):
    """Draws by scalar ``(chains, draws)``, gradients one after the other, and seconds."""

    draws: dict[str, np.ndarray]
    warmup_gradients: int
    sample_gradients: int
    seconds_cold: float
    seconds_warm: float
    mcmc: Any


def run(options: Options) -> Iterator[Record]:
    """The records, one by one; 64 bit, by ``--float64``."""
    for posterior in posteriors(options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pm.ConvergenceWarning)
            warnings.simplefilter("ignore", pm.AdaptationWarning)
            yield record_of(posterior, options)


def record_of(posterior: Posterior, options: Options) -> Record:
    by_nuts = run_nuts(posterior, options.seed)
    ours = run_ours(posterior, options.seed)
    state, settings = ours.mcmc.last_state, ours.mcmc.solve_settings()
    solve = state.solve
    reference = posterior.reference or moments(by_nuts.draws)
    return {
        **header(options, posterior.name, KERNEL, NUM_DRAWS, settings["solver"]),
        "chains": NUM_CHAINS,
        "source": posterior.source,
        "D": state.x.shape[-1],
        "choice": settings["solver_choice"],
        "exponent": settings.get("pilot_exponent"),
        "settled": np.atleast_1d(state.warmup.settled).tolist(),
        "iterations": np.atleast_1d(solve.num_iterations).tolist(),
        "num_sequential_steps": np.atleast_1d(solve.num_sequential_steps).tolist(),
        "num_frontier_steps": np.atleast_1d(solve.num_frontier_steps).tolist(),
        "leapfrogs": np.atleast_1d(state.num_steps).tolist(),
        "thinning": settings.get("thinning", 1),
        "rise": [float(r) if np.isfinite(r) else None for r in np.ravel(state.warmup.rise)],
        **figures(ours, reference),
        **{f"{name}_nuts": value for name, value in figures(by_nuts, reference).items()},
    }


def figures(run: Run, reference: dict) -> Record:
    """What a run cost, and how far its worst scalar is from the reference."""
    errors = posteriordb.against_reference(reference, run.draws)
    rhat = max(float(split_gelman_rubin(run.draws[name])) for name in reference)
    return {
        "warmup_gradients": run.warmup_gradients,
        "sample_gradients": run.sample_gradients,
        "seconds_cold": run.seconds_cold,
        "seconds_warm": run.seconds_warm,
        "rhat": rhat,
        **errors._asdict(),
    }


def moments(draws: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of draws, as a reference for others."""
    return {
        name: {
            "mean": draw.mean(),
            "sd": draw.std(),
            "mcse_mean": draw.std() / effective_sample_size(draw) ** 0.5,
        }
        for name, draw in draws.items()
        if draw.std() > LEAST_DEVIATION
    }


def run_ours(posterior: Posterior, seed: int) -> Run:
    kernel = pm.ParallelHMC(posterior.model, solver=pm.auto(platform="gpu"))
    mcmc = four_chains(kernel, posterior.thinning)
    seconds = [timed(mcmc, seed, posterior.arguments) for _ in range(2)]
    path = mcmc.critical_path()
    draws = dict(scalars(posterior.sites_of(mcmc.get_samples(group_by_chain=True))))
    warmup = max(path["warmup_gradients"]) + posterior.num_gradients
    return Run(draws, warmup, max(path["sample_gradients"]), *seconds, mcmc)


def four_chains(kernel: Any, thinning: Any = 1) -> pm.MCMC:
    return pm.MCMC(
        kernel, num_warmup=NUM_WARMUP, num_samples=NUM_DRAWS, num_chains=NUM_CHAINS,
        thinning=thinning, chain_method="vectorized", progress_bar=False,
    )  # fmt: skip


def run_nuts(posterior: Posterior, seed: int) -> Run:
    """As NumPyro has it. Chains that are vectorized would wait for each other in every step."""
    mcmc = numpyro.infer.MCMC(
        numpyro.infer.NUTS(posterior.model), num_warmup=NUM_WARMUP, num_samples=NUM_DRAWS,
        num_chains=NUM_CHAINS, chain_method="sequential", progress_bar=False,
    )  # fmt: skip
    seconds, leapfrogs = [], 0
    for _ in range(2):
        begin = time.perf_counter()
        key, mcmc.post_warmup_state = jax.random.key(seed), None
        mcmc.warmup(key, *posterior.arguments, collect_warmup=True, extra_fields=("num_steps",))
        leapfrogs = mcmc.get_extra_fields(group_by_chain=True)["num_steps"]
        mcmc.run(key, *posterior.arguments, extra_fields=("num_steps",))
        jax.block_until_ready(mcmc.last_state)
        seconds.append(time.perf_counter() - begin)
    drawn = mcmc.get_extra_fields(group_by_chain=True)["num_steps"]
    draws = dict(scalars(posterior.sites_of(mcmc.get_samples(group_by_chain=True))))
    warmup, sampling = (int(np.max(np.sum(steps, axis=1))) for steps in (leapfrogs, drawn))
    return Run(draws, warmup + posterior.num_gradients, sampling, *seconds, mcmc)


def timed(mcmc: Any, seed: int, arguments: tuple) -> float:
    begin = time.perf_counter()
    mcmc.run(jax.random.key(seed), *arguments)
    jax.block_until_ready(mcmc.last_state)
    return time.perf_counter() - begin
