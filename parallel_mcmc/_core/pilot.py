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
from parallel_mcmc._core.forecasts import forecast, planned
from parallel_mcmc._core.linearize import dense
from parallel_mcmc._core.lyapunov import Growth, evaluations_in_turn, growth_of, log_growth
from parallel_mcmc._core.profiles import Profile
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
"""Steps of the loop that a solve may take as long as, per step: an iteration has one gradient more
than a step, and takes 1.4 to 2 times as long where arrays are small (docs/benchmarks.md)."""

PART_OF_FORECAST = 1 / 2
"""Of the time that Jacobi is expected to take: up to which another solver replaces it. A pilot and
one more program have to pay."""

CORES_PER_ITERATION = 2
"""Cores of a CPU that make up for one of Jacobi's iterations: see docs/many-devices.md."""

FEWEST_ITERATIONS = 4
"""Of any solve; with time for fewer no pilot is made, and with cores for fewer nothing is asked."""

# What to do where steps run one by one on an accelerator.
IN_PARALLEL = "Many chains, or `jax.default_device` of a CPU, are faster"
WHERE_IT_GROWS = "Reparameterise, or make shorter trajectories (`thinning='auto'` of `pm.MCMC`)"
WHERE_IT_IS_WIDE = "Many chains make more of it"
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
    profile: Profile,
    window: int,
    num_chains: int,
    growth: Growth | None,
    cores: int = 0,
    num_devices: int = 1,
) -> Decision:
    """Apply the rules of `auto` for a chain that Jacobi would solve in such windows.

    ``num_chains`` share the ``memory``. Their time lies over so many devices; ``cores`` are those
    of a CPU, and 0 for an accelerator.
    """
    dim, itemsize = x.size, x.dtype.itemsize * num_chains
    allowed = profile.able
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

    def slower(solver: Solver, num_steps: int) -> float:
        """How many times as long its evaluations take as a step of the loop."""
        if cores:  # which are counted instead
            return 1.0
        number, products = num_steps * num_chains, dim if solver.linearize is dense else 1
        return profile.slowdown(number / num_devices, products) / profile.slowdown(num_chains)

    may_follow = costliest == deer() and not cores
    may_follow &= window_for(deer(), num_steps, dim, itemsize, memory) >= window
    of_jacobi = slower(jacobi(), window)
    plan = planned(expected, of_jacobi, slower(deer(), window) if may_follow else None)
    slow, unknown, advice = expected.words, plan is None, WHERE_IT_LASTS
    if plan is not None:
        slow += f": about {plan.words} to expect"
        most = cores / CORES_PER_ITERATION if cores else PART_THAT_PAYS * window
        if most < plan.cost <= most * of_jacobi:
            slow += f", each as long as {of_jacobi:,.1f} steps"
            advice = WHERE_IT_IS_WIDE
        slow += left_out
        if plan.cost > most or plan.iterations > (options.max_iterations or window):
            plan = None  # it does not pay
    if plan is not None:
        is_long = num_steps > LONG * options.num_pilot_steps
        if cores or plan.cost <= MOST_ITERATIONS * of_jacobi or not (others and is_long):
            return decision(plan.solver, slow, "", plan.iterations)
    if cores:
        many = "" if unknown else f", too many for {cores} cores of a CPU"
        return decision(sequential(), slow + many)
    # Steps of the loop that a pilot may take as long as.
    most, steps = PART_THAT_PAYS * length, length
    if plan is not None:
        most, steps = 2 ** int(math.log2(PART_OF_FORECAST * plan.cost)), window
    candidates = [jacobi(), *others] if unknown else others
    most_iterations = options.max_iterations or MOST_ITERATIONS
    limits = {
        solver: min(most_iterations, most_within(most, slower(solver, steps), solver))
        for solver in candidates
    }
    trials = list(pilots(options, limits, attempt, length))
    in_turn += sum(trial.in_turn for trial in trials)
    if solved := [trial for trial in trials if trial.is_solved]:
        counts = ", ".join(f"{trial.solver.name} {trial.iterations}" for trial in solved)
        why = f"a pilot of {length} steps took these iterations: {counts}"
        # Where DEER and quasi-DEER take as long for gradients, the latter is cheaper in all else.
        best = min(reversed(solved), key=lambda trial: trial.in_turn * slower(trial.solver, window))
        return decision(best.solver, why + left_out, "", best.iterations)
    if trials:
        slow += f"; no solver solved a pilot of {length} steps in time"
    if plan is not None:
        return decision(plan.solver, slow, "", plan.iterations)
    return decision(sequential(), slow + left_out * unknown, advice)


class Trial(NamedTuple):
    """A pilot by one solver, with the evaluations of a step that followed one another."""

    solver: Solver
    is_solved: bool
    iterations: int
    in_turn: int


def most_within(most: float, slower: float, solver: Solver) -> int:
    """Iterations that take no longer than ``most`` steps of the loop.

    How much slower theirs are is rounded up to a power of two, as each limit is a program.
    """
    return int(most / 2 ** math.ceil(math.log2(slower)) / solver.gradients_in_turn)


def pilots(
    options: "Auto", limits: dict[Solver, int], attempt: Attempt, length: int
) -> Iterator[Trial]:
    """Pilots by solvers, within so many iterations each, if that is enough for any solve.

    Quasi-DEER does not follow on DEER that fails within as many: what Newton's method does not
    solve others hardly do.
    """
    for solver, limit in limits.items():
        if limit < min(FEWEST_ITERATIONS, options.max_iterations or FEWEST_ITERATIONS):
            continue
        limited = dataclasses.replace(solver, tol=options.tol, max_iterations=limit)
        info = attempt(limited, length).info
        is_solved = bool(np.asarray(info.status) == Status.CONVERGED)
        yield Trial(solver, is_solved, int(info.num_iterations), int(info.num_in_turn))
        if solver == deer() and not is_solved and limits[quasi_deer()] <= limit:
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
