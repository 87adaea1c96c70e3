"""What is to be expected of a chain, from how its perturbations grow."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from parallel_mcmc._core.constants import TRUST_RADIUS
from parallel_mcmc._core.diagnostics import expected_iterations
from parallel_mcmc._core.lyapunov import Growth
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.solvers import deer, jacobi
from parallel_mcmc._core.tolerance import aimed_at

FORGETS_FAST = 50
"""Iterations expected of Jacobi up to which no other solver is to follow: Newton's would save few,
and are larger programs."""

OF_NEWTON = 8
"""Iterations of DEER to expect after Jacobi's; on most real models it took six to eight."""

MOST_GROWTH = 10
"""Growth of perturbations over the chain, in nats beyond the error, that rules a solve out."""


class Forecast(NamedTuple):
    """What is to be expected of the chain.

    Attributes:
        grows: whether perturbations grow, beyond the error and too much for a solve.
        iterations: of Jacobi for the whole chain, by the rule of thumb; None if unknown.
        until_close: of Jacobi until residuals are small enough for DEER; None if unknown.
        exponent: of perturbations, in nats per step; NaN if unknown.
        words: how perturbations behave.
    """

    grows: bool
    iterations: int | None
    until_close: int | None
    exponent: float
    words: str


@jax.jit
def foreseen(growth: Growth, num_steps: Any) -> tuple[Array, Array, Array]:
    """The exponent, its standard error and Jacobi's iterations, all and until residuals are small.

    As one program, not many.
    """
    value, error = growth.exponent
    errors = jnp.stack([jnp.asarray(aimed_at(None, value.dtype), value.dtype), TRUST_RADIUS])
    expected = jax.vmap(lambda tol: expected_iterations(growth, tol, num_steps))(errors)
    # A zero Jacobian: f forgets in one step, or is in pieces whose edges derivatives do not see.
    return value, error, jnp.where(growth.forgetful > 0, jnp.nan, expected)


def forecast(growth: Growth, num_steps: int) -> Forecast:
    """The forecast for ``num_steps`` steps in which perturbations grow like this."""
    value, error, iterations = jax.device_get(foreseen(growth, num_steps))
    value, error = float(value), float(error)
    grows = (value - 2 * error) * num_steps > MOST_GROWTH
    does = "grow" if grows else "change" if value + 2 * error > 0 else "shrink"
    factor = f"1 {value:+.1g}" if abs(value) < 0.005 else f"{math.exp(min(value, 99)):.3g}"
    words = f"perturbations {does} by a factor {factor} per step"
    if math.isnan(value):
        words = "how perturbations fare is unknown"
    to_end, until_close = (None if math.isnan(n) else round(float(n)) for n in iterations)
    return Forecast(grows, to_end, until_close, value, words)


class Plan(NamedTuple):
    """What Jacobi, alone or with DEER after it, is expected to take.

    Attributes:
        solver: which of the two.
        iterations: of Jacobi.
        cost: steps of the loop that take as long.
        words: the iterations.
    """

    solver: Solver
    iterations: int
    cost: float
    words: str


def planned(expected: Forecast, of_jacobi: float, of_deer: float | None) -> Plan | None:
    """The plan, if anything is known.

    An evaluation by each of the two takes so many times as long as a step of the loop; None if DEER
    is not allowed.
    """
    if expected.iterations is None or expected.until_close is None:
        return None
    n, until_close = expected.iterations, expected.until_close
    alone = n * of_jacobi
    if of_deer is not None and n > FORGETS_FAST:
        both = until_close * of_jacobi + OF_NEWTON * deer().gradients_in_turn * of_deer
        if both < alone:
            words = f"{until_close} iterations of jacobi before deer"
            return Plan(jacobi(then=deer()), until_close, both, words)
    return Plan(jacobi(), n, alone, f"{n} iterations of jacobi")
