"""What swapping a NumPyro kernel costs and gains: time per draw, of one small model.

NumPyro's own HMC against `ParallelHMC` with the same metric, step size and number of steps, under
`numpyro.infer.MCMC`, which asks for one draw after the other, and under `pm.MCMC`, which does not.
There is no warm-up. Runs are compiled as a whole beforehand: NumPyro's class compiles anew for
each run otherwise.
"""

import copy
import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro

import parallel_mcmc as pm
from benchmarks.measure import Options, compile_for, header, in_turn, of_solve, spreads
from benchmarks.posteriordb import eight_schools
from benchmarks.records import Record
from parallel_mcmc import SolveInfo, Status
from parallel_mcmc.targets import EFFECTS, STANDARD_ERRORS

TARGET = "eight schools, non-centred"
DATA = {"J": 8, "y": EFFECTS, "sigma": STANDARD_ERRORS}
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


SAMPLERS = (
    Sampler("HMC in MCMC", numpyro.infer.MCMC, None),
    Sampler("ParallelHMC in MCMC", numpyro.infer.MCMC, pm.sequential()),
    Sampler("ParallelHMC in pm.MCMC", pm.MCMC, pm.sequential()),
    Sampler("ParallelHMC in MCMC", numpyro.infer.MCMC, pm.jacobi()),
    Sampler("ParallelHMC in pm.MCMC", pm.MCMC, pm.jacobi()),
)


def run(options: Options) -> Iterator[list[Record]]:
    """The records, in groups: samplers of one length and number of chains are timed in turn."""
    for T, chains in itertools.product(LENGTHS, CHAINS):
        samplers = [s for s in SAMPLERS if options.selected(row_name(s, T, chains))]
        programs = [compile_for(*run_of(sampler, T, chains, options.seed)) for sampler in samplers]
        keys = map(jax.random.key, itertools.count(options.seed))
        results = [jax.block_until_ready(program.run(next(keys))) for program in programs]
        times = in_turn(
            [lambda program=program, keys=keys: program.run(next(keys)) for program in programs],
            options,
        )
        timed = zip(samplers, programs, results, times, strict=True)
        yield [
            {
                **header(options, TARGET, sampler.name, T, solver_name(sampler), chains=chains),
                "D": 10,
                "num_steps": NUM_STEPS,
                "numpyro": numpyro.__version__,
                **report_of(info),
                **spreads(["seconds"], [seconds]),
                "microseconds_per_draw": 1e6 * statistics.median(seconds) / (T * chains),
                "compile_seconds": program.compile_seconds,
                "bytes": program.num_bytes,
            }
            for sampler, program, (_, info), seconds in timed
        ]


def solver_name(sampler: Sampler) -> str:
    return "none" if sampler.solver is None else sampler.solver.name


def row_name(sampler: Sampler, T: int, chains: int) -> str:
    return f"{TARGET}/{sampler.name}/{T}/{chains}/{solver_name(sampler)}"


def run_of(sampler: Sampler, T: int, chains: int, seed: int) -> tuple[Callable, Any]:
    """A function from a key to the draws and the report on the (last) window, and a key."""
    if sampler.solver is None:
        kernel = numpyro.infer.HMC(eight_schools, **KERNEL)
    else:
        kernel = pm.ParallelHMC(
            eight_schools,
            solver=sampler.solver,
            **KERNEL,
        )
    mcmc = sampler.mcmc(
        kernel,
        num_warmup=0,
        num_samples=T,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    key = jax.random.key(seed)
    data = copy.deepcopy(DATA)  # JAX keeps what an array has become in another precision
    mcmc.warmup(key, data)
    start = mcmc.post_warmup_state

    def run(rng_key):
        mcmc.post_warmup_state = start
        mcmc.run(rng_key, data)
        return mcmc.get_samples(), getattr(mcmc.last_state, "solve", None)

    return run, key


def report_of(info: SolveInfo | None) -> Record:
    """Of the worst chain."""
    if info is None:
        return {"iterations": 0, "num_sequential_steps": 0, "status": Status.CONVERGED.name}
    return of_solve(info)
