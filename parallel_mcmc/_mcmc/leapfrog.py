"""The leapfrog integrator: half a step of momentum, whole steps, half a step of momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc._core.report import SolveInfo

UNROLLED = 8
"""Steps up to which a trajectory is written out on a GPU. If the log density is one kernel, so is
the whole trajectory then, without a loop counter. On a CPU it can take longer, as on the banana."""


class PhasePoint(NamedTuple):
    """Position, momentum, and the log density and its gradient at the position."""

    q: Float[Array, " D"]
    p: Float[Array, " D"]
    logdensity: Float[Array, ""]
    logdensity_grad: Float[Array, " D"]


Integrator: TypeAlias = Callable[..., tuple[PhasePoint, SolveInfo | None]]
"""``(value_and_grad, point, step_size, num_steps) -> (the point at the end, how it went)``."""


def steps_of(
    trajectory_length: Any, step_size: Float[Array, ""], most: Any
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """How many leapfrog steps make a trajectory of this length, and how long each of them is.

    At most ``most`` steps, which may make a shorter trajectory, none longer than ``step_size``.
    """
    num_steps = jnp.clip(jnp.ceil(trajectory_length / step_size), 1, most).astype(jnp.int32)
    return num_steps, jnp.minimum(step_size, trajectory_length / num_steps)


def leapfrog(
    value_and_grad: Callable, point: PhasePoint, step_size: Float[Array, ""], num_steps: Any
) -> PhasePoint:
    """``num_steps`` leapfrog steps of H = -log density + p'p / 2; one gradient each."""
    h = step_size

    def step(_, point):
        p = point.p + h / 2 * point.logdensity_grad
        q = point.q + h * p
        logdensity, grad = value_and_grad(q)
        return PhasePoint(q, p + h / 2 * grad, logdensity, grad)

    short = isinstance(num_steps, int) and num_steps <= UNROLLED  # an adapted number is traced
    unroll = short and jax.default_backend() != "cpu"
    return jax.lax.fori_loop(0, num_steps, step, point, unroll=unroll)
