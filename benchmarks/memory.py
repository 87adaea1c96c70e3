"""Memory of a million steps of 25 unknowns: what the compiler plans, and what a run takes.

Windows are those that `auto` takes for 1 GB and for 100 MB. The most that a process had counts what
ran in it before: run solvers one by one, as by --only /deer. With --repeats 0 nothing is run.
"""

import itertools
import resource
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks.measure import Options, Program, compile_for, header, of_solve
from benchmarks.records import Record
from benchmarks.runs import SOLVERS, keep_position
from parallel_mcmc._core.auto import Auto, window_for

T, D = 1_000_000, 25
BUDGETS = (1e9, 1e8)


def run(options: Options) -> Iterator[Record]:
    transition = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.2).at(jnp.zeros(D))
    state = transition.init(jnp.zeros(D), jax.random.key(0))
    key = jax.random.key(options.seed)
    inputs = jax.eval_shape(
        lambda key, state: transition.draw_inputs(jax.random.split(key, T), state), key, state
    )
    dtype = jax.eval_shape(transition.ravel, state).dtype
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(inputs))
    for budget, (name, solver) in itertools.product(BUDGETS, SOLVERS.items()):
        if isinstance(solver, Auto) or not options.selected(f"normal/{name}"):
            continue
        window = window_for(solver, T, D, dtype.itemsize, budget)

        def solve(state, inputs, solver=solver, window=window):
            _, draws, info = pm.run_parallel(
                transition, state, inputs, solver=solver, window=window, transform=keep_position
            )
            return draws, info

        program = compile_for(solve, state, inputs)
        run = {} if options.repeats < 1 else measured(transition, program, state, key)
        yield {
            **header(options, f"normal, D = {D}", "MALA", T, name, D=D, window=window),
            "bytes": program.num_bytes,
            "bytes_of_draws": T * D * dtype.itemsize,
            "bytes_of_inputs": num_bytes,
            "compile_seconds": program.compile_seconds,
            **run,
        }


def measured(transition: pm.Transition, program: Program, state: Any, key: Any) -> Record:
    """One run: what it came to, and the most memory that this process has had."""
    inputs = jax.jit(transition.draw_inputs)(jax.random.split(key, T), state)
    begin = time.perf_counter()
    _, info = jax.block_until_ready(program.run(state, inputs))
    seconds = time.perf_counter() - begin
    return {
        **of_solve(info),
        "seconds": seconds,
        "bytes_of_process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
