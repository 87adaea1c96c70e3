"""Real models with the defaults alone: is it right, and how long is the critical path?

`pm.ParallelHMC` under `pm.MCMC`, with the solver that an accelerator would get and with that of
this device ("here"), whose draws are the same, and NumPyro's NUTS: four chains, 1,000 draws after
at most 1,000 steps of warm-up. Gradients are those of the slowest chain that must follow one
another, of NUTS its leapfrog steps. In 64 bit.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

import parallel_mcmc as pm
from benchmarks.inference_gym import INFERENCE_GYM
from benchmarks.measure import Options, Row, seconds_of
from benchmarks.posteriordb import POSTERIORDB
from benchmarks.published import Posterior, against_reference, read, scalars
from benchmarks.records import NO_JITTER, Record
from benchmarks.rewritten import REWRITTEN
from benchmarks.user_models import USER_MODELS, with_data

ON_ACCELERATOR = pm.auto("gpu", memory=40e9)
"""As `pm.auto` chooses on one with 80 GB: half of them are for a window."""

LONG_SOLVES = ("lotka volterra",)
"""Which take hours on one core to solve as an accelerator would: drawn step by step instead.

The draws are the same. Counted are the gradients in turn of all steps, and none for a choice.
"""

KERNEL = "ParallelHMC in pm.MCMC"
NUM_CHAINS, NUM_WARMUP, NUM_DRAWS = 4, 1_000, 1_000

THINNED = "admissions", "holt winters"
"""Whose perturbations grow over a quarter period: run once more with ``thinning="auto"``."""

WITHOUT_JITTER = "radon", "stochastic volatility"
"""Which have directions half as wide as their metric says: run once more without jitter."""

LEAST_DEVIATION = 1e-10
"""Standard deviation below which a scalar is a constant, as the corner of a Cholesky factor."""


def rows(options: Options, part: str) -> Iterator[Row]:
    builds: dict[str, Callable[[], Posterior]] = {
        name: partial(read, name, options.data) for name in (*POSTERIORDB, *INFERENCE_GYM)
    }
    for name in USER_MODELS:
        builds[name] = partial(of_users, name)
        if name in THINNED:
            builds[f"{name}, thinned"] = partial(of_users, name, "auto")
        if name in WITHOUT_JITTER:
            builds[name + NO_JITTER] = partial(of_users, name, step_size_jitter=0.0)
    for name in REWRITTEN:
        builds[name] = partial(rewritten, name, options.seed)
    for name, build in builds.items():
        solver = pm.sequential() if name in LONG_SOLVES else ON_ACCELERATOR
        target, measure = name.split("-")[-1], partial(measured, build, options.seed, solver)
        yield Row(target, KERNEL, NUM_DRAWS, "", measure, only=name)


def of_users(name: str, thinning: int | str = 1, **options: Any) -> Posterior:
    return Posterior("users", *with_data(name), None, thinning, options=options)


def rewritten(row: str, seed: int) -> Posterior:
    name, rewrite = REWRITTEN[row]
    model, arguments = with_data(name)
    made = rewrite(jax.random.key(seed), model, arguments)
    found = made.num_gradients, made.sites_of
    return Posterior("users", made.model, arguments, None, 1, *found)


class Run(NamedTuple):
    """Draws by scalar ``(chains, draws)``, gradients one after the other, and seconds."""

    draws: dict[str, np.ndarray]
    warmup_gradients: int
    choice_gradients: int
    sample_gradients: int
    seconds_cold: float
    seconds_warm: float | None
    mcmc: Any

    def figures(self, reference: dict) -> Record:
        """What it cost, and how far its worst scalar is from the reference."""
        return {
            "warmup_gradients": self.warmup_gradients,
            "choice_gradients": self.choice_gradients,
            "sample_gradients": self.sample_gradients,
            "seconds_cold": self.seconds_cold,
            "seconds_warm": self.seconds_warm,
            "rhat": max(float(split_gelman_rubin(self.draws[name])) for name in reference),
            **against_reference(reference, self.draws)._asdict(),
        }


def measured(build: Callable[[], Posterior], seed: int, solver: Any = ON_ACCELERATOR) -> Record:
    posterior = build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.ConvergenceWarning)
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        by_nuts = run_nuts(posterior, seed)
        if as_on_accelerator := solver == ON_ACCELERATOR:
            ours = run_ours(posterior, seed, solver, 1)
            here = run_ours(posterior, seed, pm.auto(), 2)
            more = {"max_difference_sd": largest_difference(ours.draws, here.draws)}
        else:
            ours = here = run_ours(posterior, seed, solver, 2)
            more = warmup_of_accelerator(posterior, seed)
    state, settings = ours.mcmc.last_state, ours.mcmc.solve_settings()
    reference = posterior.reference or moments(by_nuts.draws)
    of_chains = {
        "settled": state.warmup.settled,
        "iterations": state.solve.num_iterations,
        "num_sequential_steps": state.solve.num_sequential_steps,
        "leapfrogs": state.num_steps,
    }
    return {
        "as_on_accelerator": as_on_accelerator,
        "solver": settings["solver"], "choice": settings["solver_choice"],
        "exponent": settings.get("pilot_exponent"), "thinning": settings.get("thinning", 1),
        "chains": NUM_CHAINS, "source": posterior.source, "D": state.x.shape[-1],
        **{name: np.atleast_1d(values).tolist() for name, values in of_chains.items()},
        "rise": [float(r) if np.isfinite(r) else None for r in np.ravel(state.warmup.rise)],
        **ours.figures(reference),
        "seconds_cold_here": here.seconds_cold, "seconds_warm_here": here.seconds_warm,
        **{f"{name}_nuts": value for name, value in by_nuts.figures(reference).items()},
        **more,
    }  # fmt: skip


def largest_difference(draws: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """In standard deviations, over all scalars that are not constant."""
    return max(
        float(np.max(np.abs(draw - others[name])) / draw.std())
        for name, draw in draws.items() if draw.std() > LEAST_DEVIATION
    )  # fmt: skip


def warmup_of_accelerator(posterior: Posterior, seed: int) -> Record:
    """It measures the exponent, to choose a solver by."""
    mcmc = chains_of(posterior, ON_ACCELERATOR)
    mcmc.warmup(jax.random.key(seed), *posterior.arguments)
    warmup = mcmc.post_warmup_state.warmup
    return {
        "warmup_gradients": int(warmup.num_gradients.max()) + posterior.num_gradients,
        "exponent": float(warmup.growth.exponent.value[0]),
    }


def moments(draws: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of draws, as a reference for others."""
    found = {}
    for name, draw in draws.items():
        if draw.std() > LEAST_DEVIATION:
            error = draw.std() / effective_sample_size(draw) ** 0.5
            found[name] = {"mean": draw.mean(), "sd": draw.std(), "mcse_mean": error}
    return found


def four_chains(kernel: Any, thinning: Any = 1) -> pm.MCMC:
    return pm.MCMC(
        kernel, num_warmup=NUM_WARMUP, num_samples=NUM_DRAWS, num_chains=NUM_CHAINS,
        thinning=thinning, chain_method="vectorized", progress_bar=False,
    )  # fmt: skip


def chains_of(posterior: Posterior, solver: Any) -> pm.MCMC:
    kernel = pm.ParallelHMC(posterior.model, solver=solver, **posterior.options)
    return four_chains(kernel, posterior.thinning)


def draws_of(posterior: Posterior, mcmc: Any) -> dict[str, np.ndarray]:
    return dict(scalars(posterior.sites_of(mcmc.get_samples(group_by_chain=True))))


def run_ours(posterior: Posterior, seed: int, solver: Any, times: int) -> Run:
    """Once or twice: what an accelerator would do takes long here, and is counted, not timed."""
    mcmc = chains_of(posterior, solver)

    def run():
        mcmc.run(jax.random.key(seed), *posterior.arguments)
        return mcmc.last_state

    cold, *warm = (seconds_of(run)[0] for _ in range(times))
    path = mcmc.critical_path()
    warmup = max(path["warmup_gradients"]) + posterior.num_gradients
    choice, sample = (max(path[f"{part}_gradients"]) for part in ("choice", "sample"))
    draws, last = draws_of(posterior, mcmc), warm[-1] if warm else None
    return Run(draws, warmup, choice, sample, cold, last, mcmc)


def run_nuts(posterior: Posterior, seed: int) -> Run:
    """As NumPyro has it. Chains that are vectorized would wait for each other in every step."""
    mcmc = numpyro.infer.MCMC(
        numpyro.infer.NUTS(posterior.model), num_warmup=NUM_WARMUP, num_samples=NUM_DRAWS,
        num_chains=NUM_CHAINS, chain_method="sequential", progress_bar=False,
    )  # fmt: skip
    key, fields = jax.random.key(seed), {"extra_fields": ("num_steps",)}

    def most_leapfrogs():
        steps = mcmc.get_extra_fields(group_by_chain=True)["num_steps"]
        return int(np.max(np.sum(steps, axis=1)))

    def run():
        mcmc.post_warmup_state = None
        mcmc.warmup(key, *posterior.arguments, collect_warmup=True, **fields)
        warmup = most_leapfrogs()
        mcmc.run(key, *posterior.arguments, **fields)
        jax.block_until_ready(mcmc.last_state)
        return warmup

    (cold, warmup), (warm, _) = (seconds_of(run) for _ in range(2))
    warmup += posterior.num_gradients
    return Run(draws_of(posterior, mcmc), warmup, 0, most_leapfrogs(), cold, warm, mcmc)
