"""What swapping a NumPyro kernel costs and gains: time per draw of one small model, no warm-up.

NumPyro's own HMC against `ParallelHMC` with the same settings, under `numpyro.infer.MCMC`, which
asks for one draw after the other, and `pm.MCMC`, which does not. Runs are compiled as a whole.
"""

import copy
import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro

import parallel_mcmc as pm
from benchmarks.measure import Options, Row, compile_for, cost, in_turn, of_solve
from benchmarks.posteriordb import eight_schools
from benchmarks.problem import Chain
from benchmarks.records import Record
from parallel_mcmc.targets import EFFECTS, STANDARD_ERRORS

TARGET = "eight schools, non-centred"
DATA = {"J": 8, "y": EFFECTS, "sigma": STANDARD_ERRORS}
NOTHING_SOLVED = {"iterations": 0, "num_sequential_steps": 0, "status": pm.Status.CONVERGED.name}
LENGTHS, CHAINS = (1_000, 10_000, 100_000), (1, 4)
NUM_STEPS = 8

KERNEL = {
    "step_size": math.pi / 2 / NUM_STEPS,
    "num_steps": NUM_STEPS,
    "trajectory_length": None,
    "adapt_step_size": False,
    "adapt_mass_matrix": False,
    "dense_mass": False,
    "inverse_mass_matrix": np.array([11.0, 1.2] + 8 * [1.0]),  # mu, log tau, theta
}


class Sampler(NamedTuple):
    """One row of the table: which class, which kernel, and which solver, None for NumPyro's."""

    name: str
    mcmc: Callable
    solver: Any

    @property
    def solver_name(self) -> str:
        return "none" if self.solver is None else self.solver.name


OURS, NUMPYRO = "ParallelHMC in pm.MCMC", "ParallelHMC in MCMC"
SAMPLERS = (
    Sampler("HMC in MCMC", numpyro.infer.MCMC, None),
    Sampler(NUMPYRO, numpyro.infer.MCMC, pm.sequential()),
    Sampler(OURS, pm.MCMC, pm.sequential()),
    Sampler(NUMPYRO, numpyro.infer.MCMC, pm.jacobi()),
    Sampler(OURS, pm.MCMC, pm.jacobi()),
)


def rows(options: Options, part: str) -> Iterator[Row]:
    """Samplers of one length and number of chains together: they are timed in turn."""
    for T, chains in itertools.product(LENGTHS, CHAINS):
        named = {f"{TARGET}/{s.name}/{T}/{chains}/{s.solver_name}": s for s in SAMPLERS}
        selected = {name: s for name, s in named.items() if options.selected(name)}
        if selected:
            measure = partial(measured, list(selected.values()), T, chains, options)
            yield Row(TARGET, "", T, "", measure, only=next(iter(selected)))


def chain_of(sampler: Sampler, T: int, chains: int, seed: int) -> Chain:
    """From a key to the draws and the report on the (last) window."""
    if sampler.solver is None:
        kernel = numpyro.infer.HMC(eight_schools, **KERNEL)
    else:
        # Without jitter, as NumPyro's HMC.
        kernel = pm.ParallelHMC(
            eight_schools, solver=sampler.solver, step_size_jitter=0.0, **KERNEL
        )
    mcmc = sampler.mcmc(
        kernel, num_warmup=0, num_samples=T, num_chains=chains,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    key = jax.random.key(seed)
    data = copy.deepcopy(DATA)  # JAX keeps what an array has become in another precision
    mcmc.warmup(key, data)
    start = mcmc.post_warmup_state

    def run(rng_key):
        mcmc.post_warmup_state = start
        mcmc.run(rng_key, data)
        return mcmc.get_samples(), getattr(mcmc.last_state, "solve", None)

    return Chain(run, lambda: (key,))


def under(mcmc: Callable) -> Callable[[Path, int, pm.Solver], Chain]:
    """One chain, by a solver, for programs and for equality."""
    return lambda data, T, solver: chain_of(Sampler("", mcmc, solver), T, chains=1, seed=0)


def measured(samplers: list[Sampler], T: int, chains: int, options: Options) -> list[Record]:
    made = [chain_of(sampler, T, chains, options.seed) for sampler in samplers]
    programs = [compile_for(chain.run, *chain.arguments()) for chain in made]
    infos = [program()[1] for program in programs]
    times = in_turn(programs, options)
    return [
        {
            "kernel": sampler.name,
            "solver": sampler.solver_name,
            "chains": chains,
            "D": 10,
            "num_steps": NUM_STEPS,
            "numpyro": numpyro.__version__,
            **(NOTHING_SOLVED if info is None else of_solve(info)),
            **cost(program, seconds),
            "microseconds_per_draw": 1e6 * statistics.median(seconds) / (T * chains),
        }
        for sampler, program, info, seconds in zip(samplers, programs, infos, times, strict=True)
    ]
