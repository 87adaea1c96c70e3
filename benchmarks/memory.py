"""Memory of a million steps of 25 unknowns: what the compiler plans, nothing is run.

Windows are those that `auto` takes for 1 GB.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks.records import Record
from benchmarks.runs import Options, keep_position
from benchmarks.suites import SOLVERS
from benchmarks.timing import compile_for
from parallel_mcmc.auto import Auto, window_for

T, D = 1_000_000, 25
MEMORY = 1e9


def run_memory(options: Options) -> Iterator[Record]:
    transition = pm.mala(lambda x: -jnp.sum(x**2) / 2, jnp.zeros(D), 0.2)
    state = transition.init(jnp.zeros(D), jax.random.key(0))
    key = jax.random.key(options.seed)
    inputs = jax.eval_shape(lambda key, state: transition.draw_inputs(key, T, state), key, state)
    dtype = jax.eval_shape(transition.ravel, state).dtype
    for name, solver in SOLVERS.items():
        if isinstance(solver, Auto):
            continue
        window = window_for(solver, T, D, dtype.itemsize, MEMORY)

        def solve(state, inputs, solver=solver, window=window):
            return pm.run_parallel(
                transition, state, inputs, solver=solver, window=window, transform=keep_position
            )[1]

        program = compile_for(solve, state, inputs)
        yield {
            "suite": "memory",
            "target": f"normal, D = {D}",
            "kernel": "MALA",
            "T": T,
            "D": D,
            "chains": 1,
            "solver": name,
            "dtype": str(dtype),
            "seed": options.seed,
            "window": window,
            "bytes": program.num_bytes,
            "bytes_of_draws": T * D * dtype.itemsize,
            "compile_seconds": program.compile_seconds,
        }
