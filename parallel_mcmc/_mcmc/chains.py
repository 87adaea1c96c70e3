"""Several chains as one program."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from parallel_mcmc._core.diagnostics import assess
from parallel_mcmc._core.mesh import time_axis
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._mcmc.on_mesh import run_on_mesh
from parallel_mcmc._mcmc.progress import advance, iterated
from parallel_mcmc._mcmc.runs import run_parallel
from parallel_mcmc._mcmc.trace import stats_of
from parallel_mcmc._mcmc.transition import keys_of_steps, recursion


@compiled(num_static=1)
def start_chains(transition, positions, keys):
    """Their first states."""
    return over_chains(transition.init)(positions, keys)


@compiled(num_static=7)
def draw_chains(
    transition, solver, window, num_samples, shows_progress, diagnose, mesh, keys, states, bar,
    begin,
):  # fmt: skip
    """The chains from ``states`` on; ``begin`` is their step, if it is not the first."""
    time = time_axis(mesh)
    moved = iterated if mesh is None and solver.linearize is not None else advance

    def keep(state, info):
        x = transition.ravel(state) if diagnose else None
        return (state.position, stats_of(state, info)), x

    def draw(key, state):
        return transition.draw_inputs(keys_of_steps(key, num_samples, begin), state)

    def run(chain, state, inputs, probes_key=None):
        last, (kept, trajectory), solve = run_parallel(
            transition,
            state,
            inputs,
            solver=solver,
            window=window if time is None else None,
            rng_key=probes_key,
            transform=keep,
            tell=functools.partial(jax.debug.callback, moved, bar, chain)
            if shows_progress
            else None,
        )
        if not diagnose:
            return kept, (last, solve, None)
        x0 = transition.ravel(state)
        allowed = aimed_at(solver.tol, x0.dtype)
        predictability = assess(recursion(transition), x0, inputs, trajectory, allowed)
        return kept, (last, solve, predictability)

    def draw_and_run(chain, key, state):
        return run(chain, state, draw(key, state))

    if mesh is None:
        kept, reports = over_chains(draw_and_run)(jnp.arange(keys.shape[0]), keys, states)
    else:
        linearize = solver.last.linearize
        kept, reports = run_on_mesh(
            run, over_chains, transition, draw, linearize, num_samples, mesh, keys, states
        )
    return reports[0], *kept, *reports[1:]


def over_chains(f: Callable) -> Callable:
    """``jax.vmap(f)``, or a loop where JAX cannot batch f, as with some callbacks."""

    def every(*args):
        try:
            return jax.vmap(f)(*args)
        except NotImplementedError:
            return jax.lax.map(lambda args: f(*args), args)

    return every
