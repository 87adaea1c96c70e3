"""A Hamiltonian trajectory in parallel over its leapfrog steps.

With half a step of momentum at first and at last, the steps in between are the recursion

    q_t       = q_{t-1} + h v(p_{t-1/2}),              v(p) = gradient of the kinetic energy
    p_{t+1/2} = p_{t-1/2} + h g(q_t),                  g(q) = gradient of the log density

on x_t = (q_t, p_{t+1/2}), with x_0 = (q_0, p_0 + h/2 g(q_0)). For v(p) = M^-1 p and H the
Hessian of minus the log density its Jacobian is

    A_t = [    I             h M^-1      ]
          [ -h H(q_t)   I - h^2 H M^-1   ],

Block quasi-DEER takes the four diagonals of it (arXiv:2508.18413). There is no
randomness and nothing contracts. The solve converges because the products of A_t over
a trajectory of fixed length stay bounded however many steps it has. So the iterations
depend on the length of the trajectory, and hardly on the number of its steps: a
parallel solve pays for long trajectories of small steps.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.solvers import block_quasi_deer
from parallel_mcmc._core.windows import run_info, solve_vectors
from parallel_mcmc._mcmc.hmc import Integrator, PhasePoint


@functools.cache
def parallel_integrator(solver: Solver | None = None) -> Integrator:
    """An integrator for `hmc` that solves for all leapfrog steps of a trajectory at once.

    Args:
        solver: `block_quasi_deer()` by default. Its ``tol`` is here the error allowed at the end,
            in spreads of the trajectory; 1e-5 in float32 and 1e-10 in float64 by default. Each step
            gets an equal share: as nothing contracts, their residuals add up. What has not
            converged after ``max_iterations`` is finished step by step, so that the end point is
            that of the leapfrog integrator, and ``info.trajectory`` says so.

    Costs per iteration: with one probe a gradient and two Hessian-vector products per
    leapfrog step, all at once; memory for all leapfrog steps.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> logdensity_fn = lambda x: -0.5 * jnp.sum(x**2)
    >>> integrator = pm.parallel_integrator()
    >>> kernel = pm.hmc(logdensity_fn, 0.01, None, 150, integrator=integrator)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(3), 10, solver=pm.sequential())
    >>> trace.position.shape
    (1, 10, 3)
    """
    solver = block_quasi_deer() if solver is None else solver

    def integrate(value_and_grad, point, step_size, num_steps):
        return solve_trajectory(value_and_grad, lambda p: p, point, step_size, num_steps, solver)

    return integrate


def solve_trajectory(
    value_and_grad: Callable,
    velocity: Callable[[Float[Array, " D"]], Float[Array, " D"]],
    point: PhasePoint,
    step_size: Any,
    num_steps: int,
    solver: Solver,
) -> tuple[PhasePoint, SolveInfo]:
    """The point after ``num_steps`` leapfrog steps, and how they were solved."""
    h = jnp.asarray(step_size, point.q.dtype)

    def step(x, _):
        q, p = jnp.split(x, 2)
        q = q + h * velocity(p)
        return jnp.concatenate([q, p + h * value_and_grad(q)[1]])

    x = jnp.concatenate([point.q, point.p + h / 2 * point.logdensity_grad])
    info = run_info(jnp.ones(1, bool), x.dtype)
    default = 1e-5 if x.dtype == jnp.float32 else 1e-10
    tol = default if solver.tol is None else solver.tol
    if num_steps > 1:
        # All but the last step, which must be made in any case for its value and gradient.
        trajectory, info = solve_vectors(
            step,
            x,
            jnp.arange(num_steps - 1),
            dataclasses.replace(solver, tol=tol / num_steps),
            num_steps - 1,
            jax.random.key(0),
        )
        x = trajectory[-1]
    q, p = jnp.split(x, 2)
    q = q + h * velocity(p)
    logdensity, grad = value_and_grad(q)
    return PhasePoint(q, p + h / 2 * grad, logdensity, grad), info
