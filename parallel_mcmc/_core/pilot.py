"""The pilot of `auto`: forecast the whole chain, try solvers on its first steps, and decide.

The rules are listed in `auto`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from parallel_mcmc._core.ability import Ability, Recursion
from parallel_mcmc._core.checks import num_steps_of
from parallel_mcmc._core.forecasts import forecast, planned, slowdown
from parallel_mcmc._core.linearize import dense
from parallel_mcmc._core.lyapunov import Growth, evaluations_in_turn, growth_of, log_growth
from parallel_mcmc._core.report import SolveInfo, Status
from parallel_mcmc._core.rows import before
from parallel_mcmc._core.solver import MOST_ITERATIONS, Solver
from parallel_mcmc._core.solvers import deer, jacobi, quasi_deer, sequential
from parallel_mcmc._core.windows import solve_vectors

if TYPE_CHECKING:
    from parallel_mcmc._core.auto import Auto

FEWEST_STEPS = 4
"""Shorter chains run step by step."""

LEAST_STEPS = 256
"""Steps of a pilot, and of those run one by one if nothing is known; fewer say little."""

LONG = 4
"""Chains up to so many pilots long are solved by Jacobi if that pays, and others are not tried: a
pilot takes as many evaluations in turn as the chain, and an accelerator takes them as fast."""

PART_THAT_PAYS = 2 / 3
"""Evaluations in turn that pay, per step: an iteration has one gradient more than a step."""

PART_OF_FORECAST = 1 / 2
"""Evaluations in turn of another solver up to which it replaces Jacobi, as a part of the forecast:
each of its iterations takes longer."""

CORES_PER_ITERATION = 2
"""Cores of a CPU that make up for one of Jacobi's iterations: see docs/many-devices.md."""

FEWEST_ITERATIONS = 4
"""Of any chain worth a solve; with cores for fewer nothing is asked."""

# What to do where steps run one by one on an accelerator.
IN_PARALLEL = "Many chains, or `jax.default_device` of a CPU, are faster"
WHERE_IT_GROWS = "Reparameterise, or make shorter trajectories (`thinning='auto'` of `pm.MCMC`)"
WHERE_IT_LASTS = (
    "Try a smaller `step_size` (in NumPyro a higher `target_accept_prob`), a `step_size_jitter` of "
    "`pm.hmc`, or `jax_enable_x64`"
)


class Pilot(NamedTuple):
    """The result of running the first n steps.

    Attributes:
        info: report of the solve.
        growth: of perturbations, by `sequential()`, in the second half, as the first may still be
            far from the posterior; None for other solvers.
    """

    info: SolveInfo
    growth: Growth | None


Attempt = Callable[[Solver, int], Pilot]
"""``(solver, num_steps) -> pilot``: run or solve a chain of ``num_steps`` steps."""


def pilot(
    f: Recursion, x0: Float[Array, " D"], inputs: Any, solver: Solver, **others: Any
) -> Pilot:
    """Run the steps of ``inputs`` as one window; ``others`` as in `solve_vectors`. Traceable.

    Steps that are not solved are not run one by one either.
    """
    key, num_steps = jax.random.key(0), num_steps_of(inputs)
    others["finishes"] = False
    trajectory, info = solve_vectors(f, x0, inputs, solver, num_steps, key, **others)
    if solver.linearize is not None:
        return Pilot(info, None)
    growth = log_growth(f, before(trajectory, x0), inputs, key)
    return Pilot(info, growth_of(growth[num_steps // 2 :]))


class Decision(NamedTuple):
    """The solver chosen for an accelerator.

    Attributes:
        solver: without its iteration limit.
        why: in words.
        advice: for steps that run one by one on an accelerator.
        iterations: expected for the whole chain.
        exponent: of perturbations, in nats per step; None if it was not looked at.
        in_turn: evaluations of a step that followed one another in order to decide.
    """

    solver: Solver
    why: str
    advice: str = ""
    iterations: int = 0
    exponent: float | None = None
    in_turn: int = 0


def decide(
    options: "Auto",
    num_steps: int,
    x: Any,
    memory: float,
    attempt: Attempt | None,
    able: Callable[[], Ability],
    window: int,
    itemsize: int,
    growth: Growth | None,
    cores: int = 0,
) -> Decision:
    """Apply the rules of `auto` for a chain that Jacobi would solve in such windows.

    ``itemsize`` is the bytes of a number of all chains that share the ``memory``.
    ``cores`` are those of a CPU over which the chain's time lies; 0 for an accelerator.
    """
    dim = x.size
    allowed = able()
    if allowed == Ability.STEPS:
        return Decision(sequential(), "JAX cannot batch a step", IN_PARALLEL)
    others, left_out = [], "; a step has no forward-mode derivative for other solvers"
    if allowed == Ability.DERIVATIVES:
        newton = [deer()] if dim <= options.max_dense else []
        others, left_out = [*newton, quasi_deer()], ""  # the fewest iterations first
    costliest = [*others, jacobi()][0]
    if num_steps < FEWEST_STEPS:
        return Decision(sequential(), f"{num_steps} steps are too few")
    if cores and (attempt is None or cores < CORES_PER_ITERATION * FEWEST_ITERATIONS):
        return Decision(sequential(), "on a CPU steps run fastest one after the other")
    if attempt is None:
        return Decision(costliest, f"inside jit, without a pilot, for {dim} unknowns{left_out}")
    length = min(options.num_pilot_steps, max(LEAST_STEPS, num_steps // 4), num_steps)
    length = window_for(costliest, length, dim, x.dtype.itemsize, memory)  # a pilot is one window
    in_turn = 0
    if growth is None:
        first = min(length, LEAST_STEPS)
        growth = attempt(sequential(), first).growth
        assert growth is not None
        in_turn = first + evaluations_in_turn(first, dim, allowed, not cores)
    expected = forecast(growth, num_steps)

    def decision(solver, why, advice="", iterations=0):
        return Decision(solver, why, advice, iterations, expected.exponent, in_turn)

    if expected.grows:
        why = f"{expected.words}, so that no parallel method helps"
        return decision(sequential(), why, WHERE_IT_GROWS)
    may_follow = costliest == deer() and not cores
    may_follow &= window_for(deer(), num_steps, dim, itemsize, memory) >= window
    of_jacobi, of_deer = (slowdown(s, dim, itemsize * window) for s in (jacobi(), deer()))
    plan = planned(expected, of_deer / of_jacobi if may_follow else math.inf)
    slow, unknown = expected.words, plan is None
    if plan is not None:
        slow += f": about {plan.words} to expect{left_out}"
        most = cores / CORES_PER_ITERATION if cores else PART_THAT_PAYS * window
        if plan.cost > most or plan.iterations > (options.max_iterations or window):
            plan = None  # it does not pay
    if plan is not None:
        is_long = num_steps > LONG * options.num_pilot_steps
        if cores or plan.cost <= MOST_ITERATIONS or not (others and is_long):
            return decision(plan.solver, slow, "", plan.iterations)
    if cores:
        many = "" if unknown else f", too many for {cores} cores of a CPU"
        return decision(sequential(), slow + many)
    # Evaluations in turn that a pilot may take; in powers of two, as each limit is a program.
    most, size = PART_THAT_PAYS * length, itemsize * length
    if plan is not None:
        most = of_jacobi * 2 ** int(math.log2(PART_OF_FORECAST * plan.cost))
        size = itemsize * window
    tried = [jacobi(), *others] if unknown else others
    slower = {solver: slowdown(solver, dim, size) for solver in tried}
    trials = list(pilots(options, slower, most, attempt, length))
    in_turn += sum(trial.in_turn for trial in trials)
    if solved := [trial for trial in trials if trial.is_solved]:
        counts = ", ".join(f"{trial.solver.name} {trial.iterations}" for trial in solved)
        why = f"a pilot of {length} steps took these iterations: {counts}"
        # Where DEER and quasi-DEER take as long for gradients, the latter is cheaper in all else.
        best = min(reversed(solved), key=lambda trial: trial.in_turn * slower[trial.solver])
        return decision(best.solver, why + left_out, "", best.iterations)
    if trials:
        slow += f"; no solver solved a pilot of {length} steps in time"
    if plan is not None:
        return decision(plan.solver, slow, "", plan.iterations)
    return decision(sequential(), slow + left_out * unknown, WHERE_IT_LASTS)


class Trial(NamedTuple):
    """A pilot by one solver, with the evaluations of a step that followed one another."""

    solver: Solver
    is_solved: bool
    iterations: int
    in_turn: int


def pilots(
    options: "Auto", slower: dict[Solver, float], most: float, attempt: Attempt, length: int
) -> Iterator[Trial]:
    """Pilots by solvers whose evaluations take so many times as long as those of few states do.

    Each is as long as ``most`` of the latter, at most. None follows on DEER that fails: what
    Newton's method does not solve others hardly do.
    """
    most_iterations = options.max_iterations or MOST_ITERATIONS
    for solver, slow_by in slower.items():
        limit = int(min(most / slow_by / solver.gradients_in_turn, most_iterations))
        if limit < 1:
            continue
        limited = dataclasses.replace(solver, tol=options.tol, max_iterations=limit)
        info = attempt(limited, length).info
        is_solved = bool(np.asarray(info.status) == Status.CONVERGED)
        yield Trial(solver, is_solved, int(info.num_iterations), int(info.num_in_turn))
        if solver == deer() and not is_solved:
            return


def window_for(solver: Solver, num_steps: int, dim: int, itemsize: int, memory: float) -> int:
    """The largest window, a power of two of at least 16, that fits; all steps if they fit.

    A step takes some 32 vectors, and for a dense linearisation 8 matrices. The compiler's own
    figures on a CPU are 10 to 17 vectors for a chain in one window, up to 32 for sliding windows,
    and 3 to 4 matrices; a tree scan takes twice as many.
    """
    per_step = itemsize * (32 * dim + (8 * dim**2 if solver.last.linearize is dense else 0))
    if solver.linearize is None or per_step * num_steps <= memory:
        return num_steps
    return min(num_steps, 1 << max(4, int(memory / per_step).bit_length() - 1))
