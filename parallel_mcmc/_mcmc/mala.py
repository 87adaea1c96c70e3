"""The Metropolis-adjusted Langevin algorithm: x' = x + eps g(x) + sqrt(2 eps) z."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from parallel_mcmc._mcmc.coordinates import Coordinates, coordinates, root
from parallel_mcmc._mcmc.kernel import (
    Kernel,
    accept_or_reject,
    check_step_size,
    log_uniform,
    one_by_one,
)
from parallel_mcmc._mcmc.transition import Transition


class LangevinState(NamedTuple):
    """``w`` is the position in the kernel's coordinates; the gradient is with respect to ``w``.

    It is kept because converting there and back would move a rejected state by rounding.
    """

    position: Any
    w: Float[Array, " D"]
    logdensity: Float[Array, ""]
    logdensity_grad: Float[Array, " D"]


class LangevinInfo(NamedTuple):
    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]
    step_size: Float[Array, ""]


class LangevinInputs(NamedTuple):
    z: Float[Array, "T D"]
    log_uniform: Float[Array, " T"]


def mala(
    logdensity_fn: Callable[[Any], Float[Array, ""]],
    step_size: Any,
    inverse_mass_matrix: Any = None,
) -> Kernel:
    """MALA (Besag 1994; Roberts and Tweedie 1996).

    Args:
        logdensity_fn: log density of a position, up to a constant. -inf or NaN at a
            proposal means rejection.
        step_size: eps of x' = x + eps C g + sqrt(2 eps) C^(1/2) z, as in `blackjax.mala`.
        inverse_mass_matrix: C, as in `hmc`; by default the identity.

    Costs one log density with gradient per step, two inside a solve.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.mala(lambda x: -0.5 * jnp.sum(x**2), step_size=0.3)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(3), 200)
    >>> trace.position.shape
    (1, 200, 3)
    """
    check_step_size(step_size)
    L = root(inverse_mass_matrix)
    return Kernel(
        lambda position: mala_in(coordinates(position, L), logdensity_fn, step_size), "mala"
    )


def mala_in(
    coordinates: Coordinates, logdensity_fn: Callable[[Any], Float[Array, ""]], step_size: Any
) -> Transition:
    """`mala` with an identity metric, in the coordinates w."""
    ravel, unravel = coordinates
    value_and_grad = jax.value_and_grad(lambda x: logdensity_fn(unravel(x)))

    def at(x):
        return LangevinState(unravel(x), x, *value_and_grad(x))

    def init(position, rng_key=None):
        return at(ravel(position))

    def draw_input(rng_key, state):
        x = state.w
        key_z, key_u = jax.random.split(rng_key)
        z = jax.random.normal(key_z, x.shape, x.dtype)
        return LangevinInputs(z, log_uniform(key_u, x.dtype))

    def step(state, inputs):
        x = state.w
        eps = jnp.asarray(step_size, x.dtype)
        y = x + eps * state.logdensity_grad + jnp.sqrt(2 * eps) * inputs.z
        proposal = at(y)
        # log q(x | y) - log q(y | x); the way there is sqrt(2 eps) z by construction.
        back = x - y - eps * proposal.logdensity_grad
        log_ratio = (
            proposal.logdensity
            - state.logdensity
            + jnp.sum(inputs.z**2) / 2
            - jnp.sum(back**2) / (4 * eps)
        )
        state, rate, is_accepted = accept_or_reject(log_ratio, inputs.log_uniform, proposal, state)
        return state, LangevinInfo(rate, is_accepted, eps)

    return Transition(init, one_by_one(draw_input), step, lambda state: state.w, at, "mala")
