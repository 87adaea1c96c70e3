"""Where helpers start: around the mode, if a normal there proves to be nearly the posterior.

The posterior of a regression with many data is nearly normal, and Newton's method finds it in ten
turns, whatever its scales. The mode of a hierarchical model is a spike in which there is no mass.
So the normal must prove itself. All starts must lead to one mode, and over draws of the normal the
log ratio of the two densities must be constant to within a nat. That does not show what lies
outside: a narrow mode within a wide mass passes. So one helper in sixteen stays where it was, and
the rounds see whether it comes to the others.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.ability import traces
from parallel_mcmc._mcmc.pooling import MAX_DENSE

NUM_STARTS = 16
"""Starts of Newton's method. A turn takes D products with a Hessian for each, side by side."""

MOST_TURNS = 25
"""Of Newton's method; regressions took 9 to 21."""

PER_TURN = 3
"""Gradients that follow one another in a turn: one, and a product with the Hessian."""

DAMPINGS = tuple(10.0 ** (2 * power / 3) for power in range(-12, 13))
"""Tried side by side, in units of the Hessian's largest eigenvalue: 1e-8 to 1e8."""

SMALLEST = 1e-10
"""Eigenvalues of the scaled Hessian, in units of the largest; an uncentred regressor has 1e-8. In
float32 rounding is more than that."""

NEAR = 0.1
"""Standard deviations of the normal within which starts have come to the same mode."""

FEWEST_ARRIVALS = 4
"""Starts that must have come to the mode, where others have no density."""

NUM_DRAWS = 256
"""Of the normal, at which the two densities are compared."""

LARGEST_DEVIATION = 1.0
"""Of their log ratio, in nats: 0.1 to 1.0 in regressions, 4 to 1,000 in hierarchical models."""

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


class Normal(NamedTuple):
    """A normal with the potential's first and second derivatives at a point.

    Attributes:
        root, inverse_root: of its covariance, the inverse of the Hessian, ``(D, D)``.
        distance: from the point to its mode, in standard deviations; inf where it has none, as the
            Hessian is not finite or not positive definite.
    """

    root: Float[Array, "D D"]
    inverse_root: Float[Array, "D D"]
    distance: Float[Array, ""]


class Descent(NamedTuple):
    """Newton's method from several starts.

    Attributes:
        x, potential: where each goes next, and the potential there, ``(S, D)`` and ``(S,)``.
        at: where its derivatives were taken last, ``(S, D)``.
        normal: of each, there.
        num_turns: so far.
    """

    x: Float[Array, "S D"]
    potential: Float[Array, " S"]
    at: Float[Array, "S D"]
    normal: Normal
    num_turns: Int[Array, ""]


def normal_at_mode(
    logdensity_fn: Callable[[Float[Array, " D"]], Float[Array, ""]],
    rng_key: Any,
    x: Float[Array, "K D"],
    max_gradients: Any,
) -> Laplace | None:
    """The normal around the mode that is found from the first helpers; traceable.

    None above `MAX_DENSE` unknowns, and where JAX has no second derivative. Takes at most a quarter
    of ``max_gradients``, and memory for `NUM_STARTS` products with a Hessian per unknown.
    """
    K, D = x.shape

    def potential_fn(x):
        potential = -logdensity_fn(x)
        return jnp.where(jnp.isfinite(potential), potential, jnp.inf)

    gradient = jax.grad(lambda x: -logdensity_fn(x))
    if D > MAX_DENSE or not traces(jax.jacfwd(gradient), x[0]):
        return None
    most = jnp.minimum(MOST_TURNS, max_gradients // (4 * PER_TURN))
    found = descend(potential_fn, gradient, x[:NUM_STARTS], most)
    finite = jnp.isfinite(found.potential)
    best = jnp.argmin(found.normal.distance)
    mode, normal = found.at[best], jax.tree.map(lambda leaf: leaf[best], found.normal)
    arrived = jnp.linalg.norm((found.at - mode) @ normal.inverse_root.T, axis=-1) < NEAR
    draws, starts = jnp.split(jax.random.normal(rng_key, (NUM_DRAWS + K, D), x.dtype), [NUM_DRAWS])
    logratio = jnp.sum(draws**2, axis=-1) / 2 - jax.vmap(potential_fn)(mode + draws @ normal.root.T)
    deviation = jnp.std(jnp.where(jnp.isfinite(logratio), logratio, jnp.inf))
    helper = jnp.arange(K)[:, None]
    spread = jnp.where(helper % 4 == 2, WIDER, 1.0).astype(x.dtype)
    stays = helper % OUTSIDE == OUTSIDE - 1
    return Laplace(
        x=jnp.where(stays, x, mode + (spread * starts) @ normal.root.T),
        mean=mode,
        logdensity=-found.potential[best],
        covariance=normal.root @ normal.root.T,
        holds=(normal.distance < NEAR)
        & jnp.all(arrived | ~finite)
        & (jnp.sum(arrived & finite) >= FEWEST_ARRIVALS)
        & (deviation < LARGEST_DEVIATION),
        num_gradients=PER_TURN * found.num_turns,
    )


def descend(
    potential_fn: Callable, gradient: Callable, x: Float[Array, "S D"], most: Int[Array, ""]
) -> Descent:
    """Newton's method from each start, until all have arrived or after ``most`` turns."""

    def turn(x, potential):
        normal, step_of = newton(gradient(x), jax.jacfwd(gradient)(x))
        tried = x + jax.vmap(step_of)(jnp.asarray(DAMPINGS, x.dtype))
        potentials = jax.vmap(potential_fn)(tried)
        least = jnp.argmin(potentials)
        better = potentials[least] < potential
        there = jnp.where(better, tried[least], x)
        return there, jnp.where(better, potentials[least], potential), x, normal

    def goes_on(found: Descent):
        far = jnp.isfinite(found.potential) & ~(found.normal.distance < NEAR / 4)
        return ((found.num_turns == 0) | jnp.any(far)) & (found.num_turns < most)

    def next_turn(found: Descent):
        x, potential, at, normal = jax.vmap(turn)(found.x, found.potential)
        return Descent(x, potential, at, normal, found.num_turns + 1)

    S, D = x.shape
    infinite = jnp.full(S, jnp.inf, x.dtype)
    roots = jnp.broadcast_to(jnp.eye(D, dtype=x.dtype), (S, D, D))
    start = Descent(
        x=x,
        potential=infinite,  # of no place so far
        at=x,
        normal=Normal(roots, roots, infinite),
        num_turns=jnp.zeros((), jnp.int32),
    )
    return jax.lax.while_loop(goes_on, next_turn, start)


def newton(
    gradient: Float[Array, " D"], hessian: Float[Array, "D D"]
) -> tuple[Normal, Callable[[Any], Float[Array, " D"]]]:
    """The normal with these derivatives, and the step towards its mode for a damping.

    Eigenvalues are taken in absolute value, so that steps lead down in any case.
    """
    fine = jnp.all(jnp.isfinite(hessian)) & jnp.all(jnp.isfinite(gradient))
    gradient, hessian = jnp.where(fine, gradient, 0), jnp.where(fine, hessian, 0)
    scale = jnp.sqrt(jnp.abs(jnp.diagonal(hessian)))
    scale = jnp.where(scale > 0, scale, 1)
    values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2 / scale[:, None] / scale)
    largest = jnp.max(jnp.abs(values))
    largest = jnp.where(largest > 0, largest, 1)
    least = max(SMALLEST, values.size * float(jnp.finfo(values.dtype).eps)) * largest
    sizes = jnp.maximum(jnp.abs(values), least)
    axes = vectors / scale[:, None]
    slope = axes.T @ gradient
    distance = jnp.linalg.norm(slope / jnp.sqrt(sizes))
    normal = Normal(
        root=axes / jnp.sqrt(sizes),
        inverse_root=(vectors * scale[:, None] * jnp.sqrt(sizes)).T,
        distance=jnp.where(fine & jnp.all(values > least), distance, jnp.inf),
    )
    return normal, lambda damping: -axes @ (slope / (sizes + damping * largest))
