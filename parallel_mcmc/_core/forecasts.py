"""What is to be expected of a chain, from how its perturbations grow."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from parallel_mcmc._core.constants import TRUST_RADIUS
from parallel_mcmc._core.diagnostics import expected_iterations
from parallel_mcmc._core.linearize import dense
from parallel_mcmc._core.lyapunov import Growth
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.solvers import deer, jacobi
from parallel_mcmc._core.tolerance import aimed_at

FORGETS_FAST = 50
"""Iterations expected of Jacobi up to which no other solver is to follow: Newton's would save few,
and are larger programs."""

OF_NEWTON = 8
"""Iterations of DEER to expect after Jacobi's; on most real models it took six to eight."""

FULL = 12.5e6
"""Bytes of an array up to which a kernel of an accelerator takes about as long as a launch.

In programs for an H100 of five real models, for four chains of 1,000 draws in float64, an iteration
of DEER takes by their costs 3.4 times as long as Jacobi's for 10 unknowns, 3.8 for 20, 7 for 32, 17
for 46 and 63 for 89. Its three gradients times `slowdown` are 3, 3.1, 7.9, 16 and 61. For one chain
of 100,000 draws and 10 unknowns they are 19, and DEER takes 12 times as long.
"""

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


def slowdown(solver: Solver, dim: int, num_bytes: int) -> float:
    """How many times as long gradients in turn take on an accelerator as those of few states do.

    An array takes ``num_bytes``, those of one number of each state, per unknown; where all products
    with a Jacobian are evaluated side by side, per pair of unknowns.
    """
    width = dim**2 if solver.linearize is dense else dim
    return max(1.0, width * num_bytes / FULL)


class Plan(NamedTuple):
    """What Jacobi, alone or with DEER after it, is expected to take.

    Attributes:
        solver: which of the two.
        iterations: of Jacobi.
        cost: evaluations of a step that follow one another, or by DEER as many as take as long.
        words: the iterations.
    """

    solver: Solver
    iterations: int
    cost: float
    words: str


def planned(expected: Forecast, slower: float) -> Plan | None:
    """The plan, if anything is known.

    Gradients of DEER take so many times as long as Jacobi's: infinitely long if it is not allowed.
    """
    if expected.iterations is None or expected.until_close is None:
        return None
    n, until_close = expected.iterations, expected.until_close
    cost = until_close + slower * OF_NEWTON * deer().gradients_in_turn
    if n <= FORGETS_FAST or cost >= n:
        return Plan(jacobi(), n, n, f"{n} iterations of jacobi")
    words = f"{until_close} iterations of jacobi before deer"
    return Plan(jacobi(then=deer()), until_close, cost, words)
