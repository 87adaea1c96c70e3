"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps, and its integrator."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._mcmc.coordinates import Coordinates, coordinates, root
from parallel_mcmc._mcmc.kernel import (
    Kernel,
    accept_or_reject,
    check_step_size,
    log_uniform,
    one_by_one,
)
from parallel_mcmc._mcmc.transition import Transition

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


class HMCState(NamedTuple):
    """``w`` is the position in the kernel's coordinates; the gradient is with respect to ``w``.

    It is kept because converting there and back would move a rejected state by rounding.
    """

    position: Any
    w: Float[Array, " D"]
    logdensity: Float[Array, ""]
    logdensity_grad: Float[Array, " D"]


class HMCInfo(NamedTuple):
    """``energy`` is the Hamiltonian at the end of the trajectory, as in BlackJAX.

    ``step_size`` is that of this transition, with its jitter. ``trajectory`` says how a
    `parallel_integrator` solved it; None where it ran step by step.
    """

    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]
    is_divergent: Bool[Array, ""]
    energy: Float[Array, ""]
    num_integration_steps: Int[Array, ""]
    step_size: Float[Array, ""]
    trajectory: SolveInfo | None = None


class HMCInputs(NamedTuple):
    """``stretch`` is what the step size is multiplied by; None if that is always 1."""

    momentum: Float[Array, "T D"]
    log_uniform: Float[Array, " T"]
    stretch: Float[Array, " T"] | None = None


def hmc(
    logdensity_fn: Callable[[Any], Float[Array, ""]],
    step_size: Any,
    inverse_mass_matrix: Any = None,
    num_integration_steps: int | Int[Array, ""] = 8,
    divergence_threshold: float = 1000.0,
    integrator: Integrator | None = None,
    step_size_jitter: float = 0.0,
) -> Kernel:
    """HMC (Duane et al. 1987; Neal 2011).

    Args:
        logdensity_fn: log density of a position, up to a constant. -inf or NaN at the
            end of a trajectory means rejection.
        step_size: of the leapfrog integrator, as in `blackjax.hmc`.
        inverse_mass_matrix: the posterior's covariance or an estimate: None for the identity,
            variances ``(D,)``, or positive definite ``(D, D)``, in the order of
            `jax.flatten_util.ravel_pytree`. The chain is solved in coordinates that make it the
            identity.
        num_integration_steps: leapfrog steps of one transition. If ``step_size`` times this
            is close to pi / 2, a quarter period of a whitened posterior, draws are nearly
            independent and a solve takes about ten iterations.
        divergence_threshold: an energy error above it is reported as a divergence.
        integrator: `parallel_integrator` solves each trajectory in parallel over its leapfrog
            steps; they run one by one by default.
        step_size_jitter: each transition multiplies ``step_size`` by a number that is uniform
            within this of 1, as Stan's ``stepsize_jitter`` does; a known number from 0 to less than
            1. Without it, over trajectories of pi / 2, a direction that is half as wide as the
            metric says comes back to where it was, with its sign changed, and is never forgotten
            (Neal 2011, section 3.2).

    Raises:
        ValueError: for a step size that is not positive, or a jitter that is out of its range or
            traced.

    Costs ``num_integration_steps`` gradients per step, one more inside a solve.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.2)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(3), 200, solver=pm.jacobi())
    >>> trace.position.shape
    (1, 200, 3)
    """
    check_step_size(step_size)
    jitter = checked_jitter(step_size_jitter)
    L = root(inverse_mass_matrix)

    def make(position):
        return hmc_in(
            coordinates(position, L), logdensity_fn, step_size, num_integration_steps,
            divergence_threshold, integrator, jitter,
        )  # fmt: skip

    return Kernel(make, "hmc")


def checked_jitter(step_size_jitter: Any) -> float:
    """As a number with which no step size becomes zero or negative."""
    try:
        jitter = float(step_size_jitter)
    except (TypeError, ValueError):  # not a number, or not known
        jitter = math.nan
    if not 0 <= jitter < 1:
        raise ValueError(
            "step_size_jitter must be a known number, at least 0 and below 1, got "
            f"{step_size_jitter}; try 0.3."
        )
    return jitter


def hmc_in(
    coordinates: Coordinates,
    logdensity_fn: Callable[[Any], Float[Array, ""]],
    step_size: Any,
    num_integration_steps: int | Int[Array, ""],
    divergence_threshold: float,
    integrator: Integrator | None,
    step_size_jitter: float,
) -> Transition:
    """`hmc` with an identity metric, in the coordinates w."""
    ravel, unravel = coordinates
    value_and_grad = jax.value_and_grad(lambda x: logdensity_fn(unravel(x)))

    def at(x):
        return HMCState(unravel(x), x, *value_and_grad(x))

    def init(position, rng_key=None):
        return at(ravel(position))

    def draw_input(rng_key, state):
        return draw(rng_key, state.w, step_size_jitter)

    def step(state, inputs):
        x = state.w
        h = jnp.asarray(step_size, x.dtype)
        h = h if inputs.stretch is None else h * inputs.stretch
        begin = PhasePoint(x, inputs.momentum, state.logdensity, state.logdensity_grad)
        if integrator is None:
            end, info_of_solve = leapfrog(value_and_grad, begin, h, num_integration_steps), None
        else:
            end, info_of_solve = integrator(value_and_grad, begin, h, num_integration_steps)
        energy = energy_of(end)
        log_ratio = energy_of(begin) - energy
        proposal = HMCState(unravel(end.q), end.q, end.logdensity, end.logdensity_grad)
        state, rate, is_accepted = accept_or_reject(log_ratio, inputs.log_uniform, proposal, state)
        info = HMCInfo(
            acceptance_rate=rate,
            is_accepted=is_accepted,
            is_divergent=~(-log_ratio <= divergence_threshold),  # NaN diverges
            energy=energy,
            num_integration_steps=jnp.asarray(num_integration_steps, jnp.int32),
            step_size=h,
            trajectory=info_of_solve,
        )
        return state, info

    return Transition(init, one_by_one(draw_input), step, lambda state: state.w, at, "hmc")


def draw(rng_key: Any, w: Float[Array, "*K D"], step_size_jitter: float = 0.0) -> HMCInputs:
    """The randomness of one step of each of these states."""
    key_p, key_u = jax.random.split(rng_key)
    momentum = jax.random.normal(key_p, w.shape, w.dtype)
    inputs = HMCInputs(momentum, log_uniform(key_u, w.dtype, w.shape[:-1]))
    if not step_size_jitter:
        return inputs
    key_s = jax.random.fold_in(rng_key, 2)  # the other two may be those of 0 and 1
    least, most = 1 - step_size_jitter, 1 + step_size_jitter
    return inputs._replace(stretch=jax.random.uniform(key_s, w.shape[:-1], w.dtype, least, most))


def energy_of(point: PhasePoint) -> Float[Array, ""]:
    return -point.logdensity + jnp.sum(point.p**2) / 2


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


def steps_of(
    trajectory_length: Any, step_size: Float[Array, ""], most: Any
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """How many leapfrog steps make a trajectory of this length, and how long each of them is.

    At most ``most`` steps, which may make a shorter trajectory, none longer than ``step_size``.
    """
    num_steps = jnp.clip(jnp.ceil(trajectory_length / step_size), 1, most).astype(jnp.int32)
    return num_steps, jnp.minimum(step_size, trajectory_length / num_steps)
