"""Memory of a million steps of 25 unknowns: what the compiler plans, and what a run takes.

Windows are those that `auto` takes for 1 GB and for 100 MB. The most that a process had counts what
ran in it before: run solvers one by one, as by --only /deer. With --repeats 0 nothing is run.
"""

import itertools
import resource
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks.chains import SOLVERS
from benchmarks.measure import Options, Row, compile_for, of_solve, seconds_of
from benchmarks.problem import solving
from benchmarks.records import Record
from parallel_mcmc._core.auto import Auto, window_for

T, D = 1_000_000, 25
BUDGETS = (1e9, 1e8)


def rows(options: Options, part: str) -> Iterator[Row]:
    for budget, (name, solver) in itertools.product(BUDGETS, SOLVERS.items()):
        if not isinstance(solver, Auto):
            measure = partial(measured, solver, budget, options)
            yield Row(f"normal, D = {D}", "MALA", T, name, measure, only=f"normal/{name}")


def measured(solver: pm.Solver, budget: float, options: Options) -> Record:
    transition = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.2).at(jnp.zeros(D))
    state = transition.init(jnp.zeros(D), jax.random.key(0))

    def draw_inputs(key):
        return transition.draw_inputs(jax.random.split(key, T), state)

    key = jax.random.key(options.seed)
    inputs, itemsize = jax.eval_shape(draw_inputs, key), transition.ravel(state).dtype.itemsize
    window = window_for(solver, T, D, itemsize, budget)
    program = compile_for(solving(transition, solver, window), state, inputs)
    found = {
        "D": D,
        "window": window,
        "bytes": program.num_bytes,
        "bytes_of_draws": T * D * itemsize,
        "bytes_of_inputs": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(inputs)),
        "compile_seconds": program.compile_seconds,
    }
    if options.repeats:
        drawn = jax.jit(draw_inputs)(key)
        seconds, (_, info) = seconds_of(program._replace(arguments=(state, drawn)))
        found |= {**of_solve(info), "seconds": seconds}
        found["bytes_of_process"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found
