"""Where helpers start: around the mode, if a normal there proves to be nearly the posterior.

The posterior of a regression with many data is nearly normal, and Newton's method finds it in ten
turns, whatever its scales. The mode of a hierarchical model is a spike in which there is no mass.
So the normal must prove itself. All starts must lead to one mode, but for a few that lead to modes
of no mass, and over draws of the normal the log ratio of the two densities must be constant to
within a nat. That does not show what lies outside: a narrow mode within a wide mass passes. So one
helper in sixteen stays where it was, and the rounds see whether it comes to the others.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.ability import traces
from parallel_mcmc._mcmc.descent import PER_TURN, descend
from parallel_mcmc._mcmc.pooling import MAX_DENSE

NUM_STARTS = 16
"""Starts of Newton's method. A turn takes D products with a Hessian for each, side by side."""

MOST_TURNS = 25
"""Of Newton's method; regressions took 9 to 21."""

NUM_DRAWS = 256
"""Of the normal, at which the two densities are compared."""

WIDER = 1.5
"""Spread of one helper in four, in units of the normal's: so that R-hat has something to see."""

OUTSIDE = 16
"""One helper in so many stays where it was; rounds settle with one in eight lost."""


class Laplace(NamedTuple):
    """A normal around the mode.

    Attributes:
        x: draws of it, one for each helper, except those that stay where they were.
        mean, logdensity: of the mode.
        covariance: the inverse of the Hessian of the potential, ``(D, D)``.
        holds: whether it is nearly the posterior, so that helpers may start there.
        num_gradients: that followed one another to find it.
    """

    x: Float[Array, "K D"]
    mean: Float[Array, " D"]
    logdensity: Float[Array, ""]
    covariance: Float[Array, "D D"]
    holds: Bool[Array, ""]
    num_gradients: Int[Array, ""]


def normal_at_mode(
    logdensity_fn: Callable[[Float[Array, " D"]], Float[Array, ""]],
    rng_key: Any,
    x: Float[Array, "K D"],
) -> Laplace | None:
    """The normal around the mode that is found from the first helpers; traceable.

    None above `MAX_DENSE` unknowns, and where JAX has no second derivative. Takes memory for
    `NUM_STARTS` products with a Hessian per unknown.
    """
    K, D = x.shape

    def potential_fn(x):
        potential = -logdensity_fn(x)
        return jnp.where(jnp.isfinite(potential), potential, jnp.inf)

    gradient = jax.grad(lambda x: -logdensity_fn(x))
    if D > MAX_DENSE or not traces(jax.jacfwd(gradient), x[0]):
        return None
    draws, starts = jnp.split(jax.random.normal(rng_key, (NUM_DRAWS + K, D), x.dtype), [NUM_DRAWS])
    found = descend(potential_fn, gradient, x[:NUM_STARTS], MOST_TURNS, draws)
    mode, root = found.at[found.best], found.normal.root[found.best]
    helper = jnp.arange(K)[:, None]
    spread = jnp.where(helper % 4 == 2, WIDER, 1.0).astype(x.dtype)
    stays = helper % OUTSIDE == OUTSIDE - 1
    return Laplace(
        x=jnp.where(stays, x, mode + (spread * starts) @ root.T),
        mean=mode,
        logdensity=-found.potential[found.best],
        covariance=root @ root.T,
        holds=found.holds,
        num_gradients=PER_TURN * found.num_turns,
    )
