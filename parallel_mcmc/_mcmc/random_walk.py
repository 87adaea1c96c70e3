"""Random-walk Metropolis: x' = x + sigma z, no gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from parallel_mcmc._mcmc.coordinates import Coordinates, coordinates
from parallel_mcmc._mcmc.kernel import (
    Kernel,
    accept_or_reject,
    check_positive,
    log_uniform,
    one_by_one,
)
from parallel_mcmc._mcmc.transition import Transition


class RandomWalkState(NamedTuple):
    position: Any
    logdensity: Float[Array, ""]


class RandomWalkInfo(NamedTuple):
    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]


class RandomWalkInputs(NamedTuple):
    z: Float[Array, "T D"]
    log_uniform: Float[Array, " T"]


def random_walk(logdensity_fn: Callable[[Any], Float[Array, ""]], sigma: Any = 1.0) -> Kernel:
    """Gaussian random-walk Metropolis.

    Args:
        logdensity_fn: log density of a position, up to a constant. -inf or NaN at a
            proposal means rejection.
        sigma: standard deviation of a step: a number or ``(D,)``, as in
            `blackjax.normal_random_walk`.

    Costs one log density per step. The derivative of a step with respect to its
    start is the identity, accepted or not. So `picard()` is Newton's
    method here, without computing a derivative (arXiv:2506.09762).

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2), sigma=1.4)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(3), 200, solver=pm.picard())
    >>> trace.position.shape
    (1, 200, 3)
    """
    check_positive("sigma", sigma)
    return Kernel(
        lambda position: random_walk_in(coordinates(position), logdensity_fn, sigma), "random_walk"
    )


def random_walk_in(
    coordinates: Coordinates, logdensity_fn: Callable[[Any], Float[Array, ""]], sigma: Any
) -> Transition:
    """`random_walk` in these coordinates."""
    ravel, unravel = coordinates

    def init(position, rng_key=None):
        return RandomWalkState(position, logdensity_fn(position))

    def draw_input(rng_key, state):
        x = ravel(state.position)
        key_z, key_u = jax.random.split(rng_key)
        z = jax.random.normal(key_z, x.shape, x.dtype)
        return RandomWalkInputs(z, log_uniform(key_u, x.dtype))

    def step(state, inputs):
        x = ravel(state.position)
        proposal = init(unravel(x + jnp.asarray(sigma, x.dtype) * inputs.z))
        log_ratio = proposal.logdensity - state.logdensity
        state, rate, is_accepted = accept_or_reject(log_ratio, inputs.log_uniform, proposal, state)
        return state, RandomWalkInfo(rate, is_accepted)

    return Transition(
        init,
        one_by_one(draw_input),
        step,
        lambda state: ravel(state.position),
        lambda x: init(unravel(x)),
        "random_walk",
    )
