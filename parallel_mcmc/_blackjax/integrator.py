"""A BlackJAX integrator that makes many leapfrog steps per call, solved in parallel."""

import functools
from collections.abc import Callable

import jax
from jax.flatten_util import ravel_pytree

from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.solvers import block_quasi_deer
from parallel_mcmc._mcmc.hmc import PhasePoint
from parallel_mcmc._mcmc.trajectory import solve_trajectory


@functools.cache
def blackjax_integrator(num_steps: int, solver: Solver | None = None) -> Callable:
    """An integrator for the argument ``integrator`` of BlackJAX's HMC family.

    One call makes ``num_steps`` leapfrog steps with the ``step_size`` of the kernel. So with
    ``num_integration_steps=1`` a proposal is the result of ``num_steps`` steps of
    `blackjax.mcmc.integrators.velocity_verlet`, for any of BlackJAX's Euclidean metrics.

    Args:
        num_steps: leapfrog steps of one call, at least 1.
        solver: as in `parallel_integrator`. `block_quasi_deer()` uses only the diagonal of a dense
            mass matrix; `pm.hmc` solves in coordinates in which the mass matrix is the identity.
            What has not converged is finished step by step, without a report, because BlackJAX's
            state has no field for one.

    Costs: as `parallel_integrator`.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> algorithm = blackjax.hmc(
    ...     lambda x: -0.5 * jnp.sum(x**2),
    ...     step_size=0.01,
    ...     inverse_mass_matrix=jnp.ones(2),
    ...     num_integration_steps=1,
    ...     integrator=pm.blackjax_integrator(150),
    ... )
    >>> state, info = jax.jit(algorithm.step)(jax.random.key(0), algorithm.init(jnp.ones(2)))
    >>> state.position.shape
    (2,)
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    solver = block_quasi_deer() if solver is None else solver

    def build(logdensity_fn, kinetic_energy_fn):
        kinetic_grad = jax.grad(kinetic_energy_fn)

        def one_step(state, step_size):
            q, unravel_q = ravel_pytree(state.position)
            p, unravel_p = ravel_pytree(state.momentum)
            grad, _ = ravel_pytree(state.logdensity_grad)
            end, _ = solve_trajectory(
                jax.value_and_grad(lambda q: logdensity_fn(unravel_q(q))),
                lambda p: ravel_pytree(kinetic_grad(unravel_p(p)))[0],
                PhasePoint(q, p, state.logdensity, grad),
                step_size,
                num_steps,
                solver,
            )
            return type(state)(
                unravel_q(end.q), unravel_p(end.p), end.logdensity, unravel_q(end.logdensity_grad)
            )

        return one_step

    return build
