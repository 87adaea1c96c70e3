"""How long evaluations at all steps of a chain take on a GPU, beside one step of the loop.

An evaluation at many states has larger arrays, and DEER has products with each step's Jacobian for
every unknown as well, all side by side. `Profile.slowdown` is the rule by which `auto` weighs that.
Here it stands beside the costs of programs for real models, compiled for a GPU that is not there,
as in `programs`. In 64 bit.
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
from benchmarks.programs import MISSING, SEQUENTIAL, described, solver_of
from benchmarks.published import read
from benchmarks.records import Record
from benchmarks.user_models import USER_MODELS
from benchmarks.warmups import density_of
from parallel_mcmc._mcmc.pooling import MAX_DENSE
from parallel_mcmc._mcmc.transition import profile_of

STEP_SIZE = 0.3
EIGHT_SCHOOLS = "eight_schools-eight_schools_noncentered"
FEW, MANY = (SEQUENTIAL, "jacobi", "deer"), (SEQUENTIAL, "jacobi")
CASES = (
    (EIGHT_SCHOOLS, 4, 1_000, 4, FEW),
    (EIGHT_SCHOOLS, 4, 100_000, 1, FEW),
    ("baseball", 5, 1_000, 4, FEW),
    ("brownian_motion", 5, 1_000, 4, FEW),
    ("random slopes", 4, 1_000, 4, FEW),
    ("radon", 5, 1_000, 4, FEW),
    ("stochastic_volatility_small", 17, 1_000, 4, MANY),
    ("stochastic volatility", 11, 1_000, 4, MANY),
    ("item_response", 9, 1_000, 4, MANY),
)
"""Model, leapfrog steps of a trajectory, about as many as warm-ups find, draws, chains, and solvers
for so many unknowns."""


def rows(options: Options, part: str) -> Iterator[Row]:
    if not is_possible():
        print(MISSING, flush=True)
        return
    for name, leapfrogs, T, chains, solvers in CASES:
        for solver in solvers:
            measure = partial(measured, name, leapfrogs, T, chains, solver, options)
            kernel, target = f"HMC, {leapfrogs} steps", name.split("-")[-1]
            yield Row(target, kernel, T, solver, measure, only=f"{name}/{solver}")


def measured(
    name: str, leapfrogs: int, T: int, chains: int, solver: str, options: Options
) -> Record:
    density = density_of(of_users(name) if name in USER_MODELS else read(name, options.data))
    dim = density.dim
    metric = jnp.eye(dim) if dim <= MAX_DENSE else jnp.ones(dim)
    kernel = pm.hmc(density.logdensity_fn, STEP_SIZE, metric, leapfrogs)
    transition = kernel.at(density.position)

    def arguments():
        keys = jax.random.split(jax.random.key(0), chains)
        state = transition.init(density.position, keys[0])
        states = jax.tree.map(lambda leaf: jnp.stack([leaf] * chains), state)
        draw = jax.vmap(lambda key: transition.draw_inputs(jax.random.split(key, T), state))
        return states, draw(keys)

    chain = Chain(jax.vmap(solving(transition, solver_of(solver))), arguments)
    state = jax.eval_shape(lambda: transition.init(density.position, jax.random.key(0)))
    arrays = profile_of(transition, state).arrays
    return {"D": dim, "chains": chains, "arrays": arrays, **described(chain, T, options)}
