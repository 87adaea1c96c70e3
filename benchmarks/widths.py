"""How long an iteration of DEER takes on a GPU, in iterations of Jacobi, by the unknowns.

DEER evaluates a product with each step's Jacobian per unknown, all side by side, and has a matrix
per step. `forecasts.slowdown` is the rule by which `auto` weighs that. Here it stands beside the
costs of programs for real models, compiled for a GPU that is not there, as in `programs`. In 64
bit.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from benchmarks.gpu_programs import is_possible
from benchmarks.measure import Options, Row
from benchmarks.posteriors import of_users
from benchmarks.problem import Chain, solving
from benchmarks.programs import MISSING, described
from benchmarks.published import read
from benchmarks.records import Record
from benchmarks.user_models import USER_MODELS
from benchmarks.warmups import density_of
from parallel_mcmc._core.forecasts import slowdown

STEP_SIZE = 0.3
MOST_DENSE = 64
"""Unknowns up to which the metric is dense, as by default."""

EIGHT_SCHOOLS = "eight_schools-eight_schools_noncentered"
CASES = (
    (EIGHT_SCHOOLS, 4, 1_000, 4),
    (EIGHT_SCHOOLS, 4, 100_000, 1),
    ("baseball", 5, 1_000, 4),
    ("brownian_motion", 5, 1_000, 4),
    ("random slopes", 4, 1_000, 4),
    ("radon", 5, 1_000, 4),
)
"""Model, leapfrog steps of a trajectory, about as many as warm-ups find, draws and chains."""

SOLVERS = {"jacobi": pm.jacobi(), "deer": pm.deer()}


def rows(options: Options, part: str) -> Iterator[Row]:
    if not is_possible():
        print(MISSING, flush=True)
        return
    for name, leapfrogs, T, chains in CASES:
        for solver in SOLVERS:
            measure = partial(measured, name, leapfrogs, T, chains, solver, options)
            kernel, target = f"HMC, {leapfrogs} steps", name.split("-")[-1]
            yield Row(target, kernel, T, solver, measure, only=f"{name}/{solver}")


def measured(
    name: str, leapfrogs: int, T: int, chains: int, solver: str, options: Options
) -> Record:
    density = density_of(of_users(name) if name in USER_MODELS else read(name, options.data))
    dim = density.dim
    metric = jnp.eye(dim) if dim <= MOST_DENSE else jnp.ones(dim)
    kernel = pm.hmc(density.logdensity_fn, STEP_SIZE, metric, leapfrogs)
    transition = kernel.at(density.position)

    def arguments():
        keys = jax.random.split(jax.random.key(0), chains)
        state = transition.init(density.position, keys[0])
        states = jax.tree.map(lambda leaf: jnp.stack([leaf] * chains), state)
        draw = jax.vmap(lambda key: transition.draw_inputs(jax.random.split(key, T), state))
        return states, draw(keys)

    method = SOLVERS[solver]
    costs = described(Chain(jax.vmap(solving(transition, method)), arguments), T, options)
    num_bytes = chains * T * jnp.zeros(0).itemsize
    foreseen = method.gradients_in_turn * slowdown(method, dim, num_bytes)
    return {"D": dim, "chains": chains, "foreseen": foreseen, **costs}
