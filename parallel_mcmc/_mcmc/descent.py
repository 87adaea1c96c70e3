"""Newton's method to the mode from several starts, and whether a normal holds there.

The potential is minus the log density. Turns are made from all starts side by side, with all
dampings.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

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

NO_MASS = 40.0
"""Nats by which the masses of two modes differ, by their normals, if one of them does not count. A
normal may say too little of a wide mass; a difference so large makes up for that."""

TURNS_TO_BOWLS = 12
"""After which some start must be where the potential is convex. In funnels none was after 5,
in regressions one was after 9 at most."""

LARGEST_DEVIATION = 1.0
"""Of their log ratio, in nats: 0.1 to 1.0 in regressions, 4 to 1,000 in hierarchical models."""


class Normal(NamedTuple):
    """A normal with the potential's first and second derivatives at a point.

    Attributes:
        root, inverse_root: of its covariance, the inverse of the Hessian, ``(D, D)``.
        distance: from the point to its mode, in standard deviations; inf where it has none, as the
            Hessian is not finite or not positive definite.
        log_volume: logarithm of the determinant of the root.
    """

    root: Float[Array, "D D"]
    inverse_root: Float[Array, "D D"]
    distance: Float[Array, ""]
    log_volume: Float[Array, ""]


class Descent(NamedTuple):
    """Newton's method from several starts.

    Attributes:
        x, potential: where each goes next, and the potential there, ``(S, D)`` and ``(S,)``.
        at: where its derivatives were taken last, ``(S, D)``.
        normal: of each, there.
        num_turns: so far.
        best: the start that is at the mode of the largest mass, or nearest to one.
        arrived: which starts are at that mode, ``(S,)``.
        deviation: over draws of its normal, of the log ratio of the two densities.
    """

    x: Float[Array, "S D"]
    potential: Float[Array, " S"]
    at: Float[Array, "S D"]
    normal: Normal
    num_turns: Int[Array, ""]
    best: Int[Array, ""]
    arrived: Bool[Array, " S"]
    deviation: Float[Array, ""]

    @property
    def has_failed(self) -> Bool[Array, ""]:
        """Whether the normal does not hold where some have arrived, or there is no mode."""
        distance = self.normal.distance
        some = (jnp.sum(self.arrived) >= FEWEST_ARRIVALS) & (distance[self.best] < NEAR / 4)
        nowhere = jnp.all(jnp.isinf(distance)) & (self.num_turns >= TURNS_TO_BOWLS)
        return (some & ~(self.deviation < LARGEST_DEVIATION)) | nowhere

    @property
    def holds(self) -> Bool[Array, ""]:
        """Whether the normal is nearly the posterior, as far as all this shows."""
        finite, mass = jnp.isfinite(self.potential), log_masses(self)
        matters = finite & ~(mass < mass[self.best] - NO_MASS)
        arrived = self.arrived & finite
        return (
            jnp.all(arrived | ~matters)
            & (jnp.sum(arrived) >= FEWEST_ARRIVALS)
            & (8 * jnp.sum(arrived) >= 7 * jnp.sum(finite))
            & (self.deviation < LARGEST_DEVIATION)
        )


def log_masses(found: Descent) -> Float[Array, " S"]:
    """Of the normals around the modes where starts have arrived, up to a constant; else NaN."""
    at_a_mode = found.normal.distance < NEAR
    return jnp.where(at_a_mode, found.normal.log_volume - found.potential, jnp.nan)


def descend(
    potential_fn: Callable,
    gradient: Callable,
    x: Float[Array, "S D"],
    most: int,
    draws: Float[Array, "N D"],
) -> Descent:
    """Newton's method from each start, until all have arrived, it has failed, or ``most`` turns.

    ``draws`` are those of a standard normal with which the densities are compared.
    """

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
        hopeful = jnp.any(far) & ~found.has_failed
        return ((found.num_turns == 0) | hopeful) & (found.num_turns < most)

    def next_turn(found: Descent):
        x, potential, at, normal = jax.vmap(turn)(found.x, found.potential)
        found = found._replace(
            x=x, potential=potential, at=at, normal=normal, num_turns=found.num_turns + 1
        )
        return compared(potential_fn, found, draws)

    S, D = x.shape
    infinite = jnp.full(S, jnp.inf, x.dtype)
    roots = jnp.broadcast_to(jnp.eye(D, dtype=x.dtype), (S, D, D))
    start = Descent(
        x=x,
        potential=infinite,  # of no place so far
        at=x,
        normal=Normal(roots, roots, infinite, infinite),
        num_turns=jnp.zeros((), jnp.int32),
        best=jnp.zeros((), jnp.int32),
        arrived=jnp.zeros(S, bool),
        deviation=infinite[0],
    )
    return jax.lax.while_loop(goes_on, next_turn, start)


def compared(potential_fn: Callable, found: Descent, draws: Float[Array, "N D"]) -> Descent:
    """The mode of the largest mass, who has arrived there, and how it compares with a normal."""
    masses, distance = log_masses(found), found.normal.distance
    # Of starts that have come to the same mode, the nearest.
    behind = masses < jnp.nanmax(masses) - 1
    best = jnp.argmin(jnp.where(behind, jnp.inf, distance)).astype(jnp.int32)
    mode, normal = found.at[best], jax.tree.map(lambda leaf: leaf[best], found.normal)
    near = jnp.linalg.norm((found.at - mode) @ normal.inverse_root.T, axis=-1) < NEAR
    logratio = jnp.sum(draws**2, axis=-1) / 2 - jax.vmap(potential_fn)(mode + draws @ normal.root.T)
    return found._replace(
        best=best,
        arrived=near & (normal.distance < NEAR),
        deviation=jnp.std(jnp.where(jnp.isfinite(logratio), logratio, jnp.inf)),
    )


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
        log_volume=-jnp.sum(jnp.log(scale)) - jnp.sum(jnp.log(sizes)) / 2,
    )
    return normal, lambda damping: -axes @ (slope / (sizes + damping * largest))
