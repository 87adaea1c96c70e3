"""The largest Lyapunov exponent: how fast a small perturbation of the chain grows or shrinks.

Along a trajectory x_t = f(x_{t-1}, u_t) a perturbation follows the linear recurrence

    v_t = J_t v_{t-1},      J_t = df/dx at (x_{t-1}, u_t),

and the exponent is its mean rate of growth (arXiv:2508.16817, from Oseledets 1968)

    lambda = lim (1/T) log |J_T ... J_1 v_0|                          in nats per step.

Negative: two chains with the same randomness meet, and a parallel solve converges
quickly. Positive: they diverge, and no parallel method helps. Only the growth of each step is
stored, never the product itself, so that nothing over- or underflows.

| where                             | how                                    | per step            |
|-----------------------------------|----------------------------------------|---------------------|
| accelerator, D <= ``max_dense``   | a tree of renormalised matrix products | D products, D^2     |
| CPU, or more unknowns             | one renormalised vector, step by step  | one product, D      |
| no forward-mode derivatives       | two nearby trajectories, step by step  | two steps, D        |

The last column is products with the Jacobian, and memory; the tree also takes D^3 operations. Two
trajectories with the same randomness are set back to their initial distance after each step
(Benettin et al. 1976). A step that brings them closer by more than the root of rounding, 3e-4 in
float32, counts as forgetting in one step; an accept decision that differs between them counts as
growth.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.ability import Ability, Recursion, ability
from parallel_mcmc._core.checks import num_steps_of
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.rows import before
from parallel_mcmc._core.tolerance import spread

MAX_DENSE = 64
"""Unknowns up to which all Jacobians of a pilot are formed; above, products along it."""


class Exponent(NamedTuple):
    """The largest Lyapunov exponent and its standard error, in nats per step.

    Attributes:
        value: -inf if a Jacobian is zero: that step forgets the state completely.
        standard_error: from batch means; inf if T < 4, which leaves only one batch.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


class Growth(NamedTuple):
    """How perturbations of a chain grow, as far as it was seen.

    Attributes:
        exponent: of the steps that were seen; NaN if none were.
        deviation: of the growth over n steps, in nats per root of n.
        forgetful: the part of the steps that forget the state completely.
    """

    exponent: Exponent
    deviation: Float[Array, ""]
    forgetful: Float[Array, ""]


def lyapunov_exponent(
    f: Callable[[Any, Any], Any],
    x0: Any,
    inputs: Any,
    trajectory: Any,
    *,
    rng_key: Any = None,
    max_dense: int = MAX_DENSE,
) -> Exponent:
    """The largest Lyapunov exponent of x_t = f(x_{t-1}, u_t) along a trajectory.

    Args:
        f, x0, inputs: the recursion, as in `parallel_mcmc.solve`.
        trajectory: x_1..x_T, solved or sequential, a pytree like x0 with time as leading axis.
        rng_key: draws the perturbation v_0; a fixed key by default. Almost every v_0
            gives the same limit.
        max_dense: unknowns up to which an accelerator forms all Jacobians at once.

    Returns:
        `Exponent`, in nats per step.

    Raises:
        ValueError: if trajectory and inputs differ in their number of steps.

    The mean and its standard error come from about sqrt(T) batches of sqrt(T) steps. If there are
    four or more, the first is left out: during it v turns towards the direction that grows most.
    If growth stays correlated for longer than sqrt(T) steps, the error is too small. Accept
    decisions are held fixed: forward mode differentiates the branch taken. Without forward-mode
    derivatives the growth is measured between two nearby trajectories.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> f = lambda x, u: 0.5 * x + u
    >>> solution = pm.solve(f, jnp.zeros(2), jnp.ones((100, 2)))
    >>> exponent = pm.lyapunov_exponent(f, jnp.zeros(2), jnp.ones((100, 2)), solution.trajectory)
    >>> round(float(jnp.exp(exponent.value)), 3)
    0.5
    """
    steps, found = num_steps_of(inputs), num_steps_of(trajectory)
    if steps != found:
        raise ValueError(
            f"The trajectory has {found} steps and the inputs have {steps}; give x_1..x_T, without "
            "x0, for u_1..u_T."
        )
    rng_key = jax.random.key(0) if rng_key is None else rng_key
    return _exponent(f, max_dense, x0, inputs, trajectory, rng_key)


@compiled(num_static=2)
def _exponent(f, max_dense, x0, inputs, trajectory, rng_key):
    """`lyapunov_exponent` for pytrees, compiled: ravel, then as for vectors."""
    vector0, unravel = ravel_pytree(x0)

    def ravel(tree):
        return ravel_pytree(tree)[0].astype(vector0.dtype)

    def step(x, u):
        return ravel(f(unravel(x), u))

    x_prev = before(jax.vmap(ravel)(trajectory), vector0)
    return batch_means(log_growth(step, x_prev, inputs, rng_key, max_dense))


def log_growth(
    f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any, max_dense: int = MAX_DENSE
) -> Float[Array, " T"]:
    """The growth log |v_t| / |v_{t-1}| of every step; |v| is the largest entry, to avoid squares.

    Where the Jacobian is zero the growth is -inf and the perturbation restarts, so that such
    steps can be counted. For a state that is not finite the growth is NaN.
    """
    v0 = jax.random.normal(rng_key, x_prev.shape[1:], x_prev.dtype)
    v0 = v0 / jnp.max(jnp.abs(v0))
    loop = functools.partial(loop_growth, f)
    tree = functools.partial(tree_growth, f)
    with jax.default_matmul_precision("highest"):
        if ability(f, x_prev[0], inputs) < Ability.DERIVATIVES:
            growth = pair_growth(f, x_prev, inputs, v0)
        elif v0.size > max_dense:
            growth = loop(x_prev, inputs, v0)
        else:
            growth = jax.lax.platform_dependent(x_prev, inputs, v0, cpu=loop, default=tree)
    return jnp.where(jnp.all(jnp.isfinite(x_prev), axis=-1), growth, jnp.nan)


def loop_growth(f, x_prev, inputs, v0):
    """`log_growth` step by step, with one product per step."""

    def step(v, x_and_u):
        x, u = x_and_u
        return renormalised(v, jax.jvp(lambda x: f(x, u), (x,), (v,))[1])

    return jax.lax.scan(step, v0, (x_prev, inputs))[1]


def pair_growth(f, x_prev, inputs, v0):
    """`log_growth` between two trajectories, at ``distance`` in the direction of v.

    The distance in each coordinate is the root of rounding times spread, so it is far above the
    rounding and far below the spread.
    """
    scale, size = spread(x_prev), jnp.max(jnp.abs(x_prev), axis=0)
    scale = jnp.where(scale > 0, scale, jnp.where(size > 0, size, 1))
    distance = jnp.sqrt(jnp.finfo(x_prev.dtype).eps * jnp.maximum(size, scale) * scale)

    def step(v, x_and_u):
        x, u = x_and_u
        # In a loop, as two uses of one expression may round differently.
        here, there = jax.lax.map(lambda x: f(x, u), jnp.stack([x, x + distance * v]))
        return renormalised(v, (there - here) / distance)

    return jax.lax.scan(step, v0, (x_prev, inputs))[1]


def renormalised(v, image):
    """The image of v, scaled for the next step, and the log of how much it has grown."""
    size = jnp.max(jnp.abs(image))
    return jnp.where(size > 0, image / jnp.where(size > 0, size, 1), v), jnp.log(size)


def tree_growth(f, x_prev, inputs, v0):
    """`log_growth` as a tree of products (M, s); each represents e^s M, with max |M| = 1."""
    J = lin.dense(f, x_prev, inputs)[1].matrix
    forgets = jnp.all(J == 0, axis=(-2, -1))
    J = jnp.where(forgets[:, None, None], jnp.eye(v0.size, dtype=J.dtype), J)

    def normalised(M, s):
        size = jnp.max(jnp.abs(M), axis=(-2, -1))
        return M / jnp.where(size > 0, size, 1)[..., None, None], s + jnp.log(size)

    def after(first, second):
        (M1, s1), (M2, s2) = first, second
        return normalised(M2 @ M1, s1 + s2)

    M, s = jax.lax.associative_scan(after, normalised(J, jnp.zeros_like(J[:, 0, 0])))
    log_v = s + jnp.log(jnp.max(jnp.abs(M @ v0), axis=-1))
    growth = jnp.diff(log_v, prepend=jnp.zeros_like(log_v[:1]))
    return jnp.where(forgets | jnp.isneginf(log_v), -jnp.inf, growth)


def growth_of(growth: Float[Array, " T"]) -> Growth:
    """What a series of `log_growth` shows."""
    exponent = batch_means(growth)
    forgetful = jnp.mean(jnp.isneginf(growth).astype(growth.dtype))
    return Growth(exponent, exponent.standard_error * growth.size**0.5, forgetful)


def evaluations_in_turn(num_steps: int, dim: int, able: Ability, tree: bool = True) -> int:
    """Evaluations of f that follow one another in `log_growth`; ``tree`` as on an accelerator.

    A product with a Jacobian counts two, beside its f.
    """
    if able < Ability.DERIVATIVES:
        return 2 * num_steps
    return 3 if tree and dim <= MAX_DENSE else 3 * num_steps


def batch_means(growth: Float[Array, " T"]) -> Exponent:
    """The mean of a correlated series and its standard error, from means over long batches."""
    T = growth.size
    n = math.isqrt(T)
    means = growth[T - n * (T // n) :].reshape(n, T // n).mean(axis=1)
    if n >= 4:
        means = means[1:]  # The perturbation has not found its direction yet.
    infinite = jnp.asarray(jnp.inf, growth.dtype)
    forgets = jnp.any(jnp.isneginf(growth)) & ~jnp.any(jnp.isnan(growth))
    error = jnp.std(means, ddof=1) / means.size**0.5 if n > 1 else infinite
    value = jnp.where(forgets, -infinite, jnp.mean(means))
    return Exponent(value, jnp.where(forgets, 0, error))
