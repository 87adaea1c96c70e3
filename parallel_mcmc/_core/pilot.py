"""The pilot of `auto`: run the first steps, predict the whole chain, and decide on a solver.

The rules are listed in `auto`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from parallel_mcmc._core.diagnostics import expected_iterations
from parallel_mcmc._core.linearize import Ability, Recursion, dense
from parallel_mcmc._core.lyapunov import batch_means, log_growth
from parallel_mcmc._core.report import SolveInfo, Status
from parallel_mcmc._core.rows import before
from parallel_mcmc._core.solvers import (
    MOST_ITERATIONS,
    Solver,
    deer,
    gradients_in_turn,
    jacobi,
    quasi_deer,
    sequential,
)
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._core.windows import num_steps_of, solve_vectors

if TYPE_CHECKING:
    from parallel_mcmc._core.auto import Auto

FEWEST_STEPS = 4
"""Shorter chains run step by step."""

LEAST_STEPS = 256
"""The least length of a pilot, unless the chain is shorter; shorter pilots say little."""

PART_THAT_PAYS = 2 / 3
"""Jacobi pays up to this many iterations per step: each has one gradient more than a step."""

FEW_ITERATIONS = 40
"""Up to here only Jacobi is tried: others take 6 or more, each with three times the gradients."""

# What to do where steps run one by one on an accelerator.
IN_PARALLEL = "Many chains, or `jax.default_device` of a CPU, are faster"
WHERE_IT_GROWS = "Reparameterise, or make shorter trajectories (`thinning='auto'` of `pm.MCMC`)"
WHERE_IT_LASTS = "Try a smaller `step_size`, whitened coordinates or `jax_enable_x64`"

MOST_GROWTH = 10
"""Growth of perturbations over the chain, in nats beyond the error, that rules a solve out."""


class Pilot(NamedTuple):
    """The result of running the first n steps.

    Attributes:
        info: report of the solve.
        growth: of a perturbation in each step, as from `lyapunov.log_growth`, ``(n,)``; None
            for a solver other than `sequential()`.
    """

    info: SolveInfo
    growth: Float[Array, " n"] | None


Attempt = Callable[[Solver, int], Pilot]
"""``(solver, num_steps) -> pilot``: run or solve a chain of ``num_steps`` steps."""


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
    """What the first steps predict for the chain.

    Attributes:
        grows: whether perturbations grow, beyond the error and too much for a solve.
        iterations: of Jacobi for the whole chain, by the rule of thumb; as many as steps if
            unknown.
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

    The first half may still be far from the posterior. One program, so that it compiles once and
    not for each operation.
    """
    growth = growth[growth.size // 2 :]
    exponent = batch_means(growth)
    expected = expected_iterations(exponent, growth, aimed_at(None, growth.dtype), num_steps)
    # A zero Jacobian: f forgets in one step, or is in pieces whose edges derivatives do not see.
    unknown = jnp.isnan(expected) | jnp.any(jnp.isneginf(growth))
    return exponent.value, exponent.standard_error, jnp.where(unknown, num_steps, expected)


def forecast(pilot: Pilot, num_steps: int) -> Forecast:
    """The forecast from a sequential pilot."""
    value, error, iterations = (float(a) for a in figures(pilot.growth, num_steps))
    grows = (value - 2 * error) * num_steps > MOST_GROWTH
    does = "grow" if grows else "change" if value + 2 * error > 0 else "shrink"
    factor = f"1 {value:+.1g}" if abs(value) < 0.005 else f"{math.exp(min(value, 99)):.3g}"
    words = f"perturbations {does} by a factor {factor} per step"
    if math.isnan(value):
        words = "how perturbations fare is unknown"
    return Forecast(grows, round(iterations), value, words)


class Decision(NamedTuple):
    """The solver chosen for an accelerator.

    Attributes:
        solver: without its iteration limit.
        why: in words.
        advice: for steps that run one by one on an accelerator.
        iterations: expected of Jacobi for the whole chain; 0 for other solvers.
        exponent: of a perturbation in the pilot, in nats per step; None if there was none.
    """

    solver: Solver
    why: str
    advice: str = ""
    iterations: int = 0
    exponent: float | None = None


def decide(
    options: "Auto",
    num_steps: int,
    x: Any,
    memory: float,
    attempt: Attempt | None,
    able: Callable[[], Ability],
    most_of_jacobi: int,
) -> Decision:
    """Apply the rules of `auto`; ``most_of_jacobi`` is how many of Jacobi's iterations pay."""
    dim = x.size
    allowed = able()
    if allowed == Ability.STEPS:
        return Decision(sequential(), "JAX cannot batch a step", IN_PARALLEL)
    candidates, left_out = [jacobi()], "; a step has no forward-mode derivative for the others"
    if allowed == Ability.DERIVATIVES:
        newton = [deer()] if dim <= options.max_dense else []
        candidates, left_out = [jacobi(), quasi_deer(), *newton], ""  # the cheapest first
    costliest = candidates[-1]
    if num_steps < FEWEST_STEPS:
        return Decision(sequential(), f"{num_steps} steps are too few")
    if attempt is None:
        return Decision(costliest, f"inside jit, without a pilot, for {dim} unknowns{left_out}")
    most_of_jacobi = min(most_of_jacobi, options.max_iterations or most_of_jacobi)
    length = min(options.num_pilot_steps, max(LEAST_STEPS, num_steps // 4), num_steps)
    length = window_for(costliest, length, dim, x.dtype.itemsize, memory)  # a pilot is one window
    first = forecast(attempt(sequential(), min(length, LEAST_STEPS)), num_steps)
    if first.grows:
        why = f"{first.words}, so that no parallel method helps"
        return Decision(sequential(), why, WHERE_IT_GROWS, exponent=first.exponent)
    if first.iterations <= min(FEW_ITERATIONS, num_steps // 4, most_of_jacobi):
        why = f"{first.words}: about {first.iterations} iterations to expect{left_out}"
        return Decision(jacobi(), why, "", first.iterations, first.exponent)
    limit = min(options.max_iterations or MOST_ITERATIONS, max(1, length // 2))
    iterations = {}
    for solver in candidates:
        limited = dataclasses.replace(solver, tol=options.tol, max_iterations=limit)
        info = attempt(limited, length).info
        if np.asarray(info.status) == Status.CONVERGED:
            iterations[solver] = int(info.num_iterations)
    counts = ", ".join(f"{solver.name} {n}" for solver, n in iterations.items())
    reason = f"a pilot of {length} steps took these iterations: {counts}"
    if not iterations:
        reason = f"no solver solved a pilot of {length} steps in {limit} iterations"
    # If Jacobi did not solve the pilot, its forecast counts only if it is above the limit.
    solved = iterations.get(jacobi(), limit)
    if solved < first.iterations < num_steps and length < num_steps:
        reason += f"; {first.words}, so that jacobi needs about {first.iterations} for all"
        iterations[jacobi()] = first.iterations
    if iterations.get(jacobi(), 0) > most_of_jacobi:
        iterations.pop(jacobi())
    if not iterations:
        return Decision(sequential(), reason + left_out, WHERE_IT_LASTS, 0, first.exponent)
    chosen = min(iterations, key=lambda s: iterations[s] * gradients_in_turn(s))
    expected = iterations[chosen] * (chosen == jacobi())
    return Decision(chosen, reason + left_out, "", expected, first.exponent)


def window_for(solver: Solver, num_steps: int, dim: int, itemsize: int, memory: float) -> int:
    """The largest window, a power of two of at least 16, that fits; all steps if they fit.

    A step takes some 32 vectors, and for a dense linearisation 8 matrices. The compiler's own
    figures on a CPU are 10 to 17 vectors for a chain in one window, up to 32 for sliding windows,
    and 3 to 4 matrices; a tree scan takes twice as many.
    """
    per_step = itemsize * (32 * dim + (8 * dim**2 if solver.linearize is dense else 0))
    if solver.linearize is None or per_step * num_steps <= memory:
        return num_steps
    return min(num_steps, 1 << max(4, int(memory / per_step).bit_length() - 1))
