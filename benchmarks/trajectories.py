"""One Hamiltonian trajectory solved in parallel: iterations against its number of leapfrog steps.

The length stays and the steps get smaller, so that a row for more steps is a finer
integration of the same path. There is no chain and no accept decision.
"""

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.measure import Options, Row, compile_for, measure, of_solve
from benchmarks.records import Record
from parallel_mcmc._mcmc.coordinates import coordinates
from parallel_mcmc._mcmc.hmc import PhasePoint, leapfrog
from parallel_mcmc.targets import Target, banana, eight_schools

LENGTH = 1.5
STEPS = (4, 16, 64, 256, 1024)
SOLVERS = {
    "block quasi-deer, 1 probe": pm.block_quasi_deer(),
    "block quasi-deer, exact": pm.block_quasi_deer(pm.exact_blocks()),
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
}


def gaussian() -> Target:
    """Two coordinates of correlation 0.8: the Hessian is far from diagonal."""

    def logdensity_fn(x):
        a, b = x["x"]
        return -(a**2 - 1.6 * a * b + b**2) / (2 * 0.36)

    return Target("gaussian, correlation 0.8", logdensity_fn, {"x": jnp.ones(2)})


def rows(options: Options, part: str) -> Iterator[Row]:
    targets = gaussian(), banana(), eight_schools()
    for target, steps, solver in itertools.product(targets, STEPS, SOLVERS):
        kernel, name = (
            f"trajectory of length {LENGTH}",
            f"{target.name}/trajectory/{steps}/{solver}",
        )
        measure = partial(measured, target, steps, solver, options)
        yield Row(target.name, kernel, steps, solver, measure, only=name)


def measured(target: Target, num_steps: int, solver: str, options: Options) -> Record:
    """Both ways from the target's own position with a random momentum."""
    ravel, unravel = coordinates(target.position)
    value_and_grad = jax.value_and_grad(lambda x: target.logdensity_fn(unravel(x)))
    q = ravel(target.position)
    p = jax.random.normal(jax.random.key(options.seed), q.shape, q.dtype)
    begin = PhasePoint(q, p, *value_and_grad(q))
    h = jnp.asarray(LENGTH / num_steps, q.dtype)
    integrate = pm.parallel_integrator(options.limited(SOLVERS[solver]))
    loop = compile_for(lambda begin: leapfrog(value_and_grad, begin, h, num_steps), begin)
    program = compile_for(lambda begin: integrate(value_and_grad, begin, h, num_steps), begin)

    expected, (end, info) = loop(), program()
    difference = float(np.max(np.abs(np.subtract([end.q, end.p], [expected.q, expected.p]))))
    times = measure({"_sequential": loop, "": program}, options)
    return {
        "D": q.size,
        "max_iterations": options.max_iterations,
        **of_solve(info),
        "max_difference": difference,
        # Of the end point alone, from what rounding in that many steps explains.
        "num_steps_differ": int(not difference <= 1e-3),
        **times,
        "ratio": times["seconds_sequential"] / times["seconds"],
    }
