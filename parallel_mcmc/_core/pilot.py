"""How the beginning of a chain goes, and what to expect of the whole chain from it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.diagnostics import expected_iterations
from parallel_mcmc._core.linearize import Recursion
from parallel_mcmc._core.lyapunov import batch_means, log_growth
from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._core.rows import before
from parallel_mcmc._core.solvers import Solver
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._core.windows import num_steps_of, solve_vectors

MOST_GROWTH = 10
"""Nats over the whole chain by which a perturbation must grow, beyond the error, to be hopeless."""


class Pilot(NamedTuple):
    """What a run of the first n steps shows.

    Attributes:
        info: how it was solved.
        growth: of a perturbation in each step, as from `lyapunov.log_growth`, ``(n,)``; None
            for a solver other than `sequential()`.
    """

    info: SolveInfo
    growth: Float[Array, " n"] | None


def pilot(
    f: Recursion, x0: Float[Array, " D"], inputs: Any, solver: Solver, **others: Any
) -> Pilot:
    """Run the steps of ``inputs`` as one window; ``others`` as in `solve_vectors`. Traceable."""
    key, num_steps = jax.random.key(0), num_steps_of(inputs)
    trajectory, info = solve_vectors(f, x0, inputs, solver, num_steps, key, **others)
    if solver.linearize is not None:
        return Pilot(info, None)
    return Pilot(info, log_growth(f, before(trajectory, x0), inputs, key))


class Forecast(NamedTuple):
    """What to expect of a chain from its first steps.

    Attributes:
        grows: whether perturbations grow, beyond the error and more than a solve can bear.
        iterations: of Jacobi for the whole chain, by rule of thumb; as many as steps if unknown.
        exponent: of perturbations, in nats per step; NaN if unknown.
        words: how perturbations behave.
    """

    grows: bool
    iterations: int
    exponent: float
    words: str


@jax.jit
def figures(growth: Float[Array, " n"], num_steps: Any) -> tuple[Array, Array, Array]:
    """The exponent, its standard error and Jacobi's iterations, from the second half of a run.

    The first half may be on its way from a poor start. One program, to compile once and not for
    each operation.
    """
    growth = growth[growth.size // 2 :]
    exponent = batch_means(growth)
    expected = expected_iterations(exponent, growth, aimed_at(None, growth.dtype), num_steps)
    # Forgotten in one step, or a step in pieces, whose derivative does not see their edges.
    unknown = jnp.isnan(expected) | jnp.any(jnp.isneginf(growth))
    return exponent.value, exponent.standard_error, jnp.where(unknown, num_steps, expected)


def forecast(pilot: Pilot, num_steps: int) -> Forecast:
    """From a run step by step."""
    value, error, iterations = (float(a) for a in figures(pilot.growth, num_steps))
    grows = (value - 2 * error) * num_steps > MOST_GROWTH
    does = "grow" if grows else "change" if value + 2 * error > 0 else "shrink"
    factor = f"1 {value:+.1g}" if abs(value) < 0.005 else f"{math.exp(min(value, 99)):.3g}"
    words = f"perturbations {does} by a factor {factor} per step"
    if math.isnan(value):
        words = "how perturbations fare is unknown"
    return Forecast(grows, round(iterations), value, words)
