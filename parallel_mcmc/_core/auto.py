"""`auto`: choose the solver from the platform, the size of the chain, memory and the first steps.

1. On a CPU steps run one after the other: a parallel solve does more work at the same speed. Where
   a chain's time lies over several cores, Jacobi is taken if they make up for its iterations.
2. Elsewhere the exponent of a perturbation decides. It comes from the helpers of the warm-up, if
   they measured it, or from the first 256 steps, run one by one. If it is positive no parallel
   method helps, and the chain runs step by step.
3. Jacobi is taken if by this exponent it needs up to 200 iterations for the whole chain, and at
   most two thirds of the time of the steps. It needs no derivative, nothing else has to be
   compiled, and each of its iterations has a third of the gradients in turn of the other solvers.
   If it needs more, but no more than two thirds of that time, it is taken for chains of up to 4,096
   steps.
   Where more than 50 are expected, it hands over to DEER if that takes less time, and there are no
   more than ``max_dense`` unknowns: then its iterations until residuals are small, and 24 for those
   of DEER, are compared with these limits. An iteration of Jacobi counts for a step, and for more
   where its arrays are so large that they take longer, and DEER's for as many of Jacobi's as they
   take the time of: see `profiles.Profile.slowdown`.
4. Otherwise a pilot, a quarter of the chain or up to 1,024 steps, is solved by DEER, up to
   ``max_dense`` unknowns, and then quasi-DEER; before them by Jacobi if the exponent does not tell.
   The solver that takes the least time is taken, by its gradients in turn and how long they take.
   A pilot stops after half the time that Jacobi is expected to take, or two thirds of that of its
   own steps one by one; with time for fewer than four iterations it is not made. Where DEER fails
   within as many iterations as quasi-DEER would get, that is not tried, nor are solvers that need
   a batch or derivative that JAX does not have: see `ability.Ability`.
5. If no pilot is solved, Jacobi is taken if it is expected to take up to two thirds of the time of
   the steps; else the chain runs step by step.
6. The window is as long as the memory allows.

A warning says when steps run one by one on an accelerator, because that is slow.

Iterations are counted, not timed, so that the choice is the same for the same key on
the same kind of machine. The draws do not depend on it, except for rounding.
"""

import dataclasses
import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from parallel_mcmc._core.checks import check_window
from parallel_mcmc._core.lyapunov import Growth
from parallel_mcmc._core.options import written
from parallel_mcmc._core.pilot import Attempt, Decision, decide, window_for
from parallel_mcmc._core.profiles import Profile
from parallel_mcmc._core.report import ConvergenceWarning
from parallel_mcmc._core.solver import MOST_ITERATIONS, Solver, check_limits
from parallel_mcmc._core.solvers import jacobi, sequential
from parallel_mcmc._core.time_blocks import device_memory

AS_FORESEEN = 4
"""The iteration limit, as a multiple of what the solver is expected to need, if more than 200.

The limit is 200, doubled until it is enough, because each limit needs another compilation.
"""

logger = logging.getLogger("parallel_mcmc")


@dataclasses.dataclass(frozen=True)
class Auto:
    """A solver that has not been chosen yet; see `auto`."""

    platform: str | None
    num_pilot_steps: int
    max_dense: int
    memory: float | None
    tol: float | None
    max_iterations: int | None

    def __repr__(self) -> str:
        return f"auto({written(auto, **dataclasses.asdict(self))})"


class Choice(NamedTuple):
    """The solver chosen, with its iteration limit, and why.

    Attributes:
        solver, window: as in `parallel_mcmc.solve`.
        reason: in words.
        exponent: of a perturbation, in nats per step; None if it was not looked at.
        in_turn: evaluations of a step that followed one another in order to choose.
    """

    solver: Solver
    window: int
    reason: str
    exponent: float | None = None
    in_turn: int = 0


def auto(
    platform: str | None = None,
    num_pilot_steps: int = 1_024,
    max_dense: int = 128,
    memory: float | None = None,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Auto:
    """Choose the solver for a given chain: the default wherever a solver is an argument.

    Args:
        platform: ``"cpu"`` or another; by default the platform of JAX's default device. On a CPU
            the choice is `sequential()`, or on a mesh with the axis ``time`` `jacobi()` if its
            cores are at least twice as many as the iterations expected.
        num_pilot_steps: most steps of the pilot, at least 2. The pilot is a quarter of the chain
            if that is less, but at least 256 steps, or the chain; and no longer than a window.
        max_dense: unknowns up to which DEER is tried; it stores the square of that per step.
        memory: bytes for the arrays of one window, all chains together; by default half of the
            device's memory, or 1e9 if JAX does not know that.
        tol: of the solver that is chosen, as in `Solver`.
        max_iterations: of the solver that is chosen; by default 200, doubled until it is four times
            the expected number of iterations.

    With several chains, the first one decides. Costs 256 steps one by one and a perturbation along
    them, unless the helpers of a warm-up have measured it, and if that does not decide, up to three
    compilations and solves of the pilot. `MCMC.critical_path` counts their gradients. Under
    NumPyro's own `MCMC` the choice is made in `init`, for a chain as long as a window, if helpers
    have done the warm-up of the first chain. Inside `jit` there can be no pilot, and nothing is
    weighed: the choice is DEER up to ``max_dense`` unknowns, and quasi-DEER above. Without
    forward-mode derivatives it is Jacobi, and step by step if JAX cannot batch a step.

    The reason is in ``trace.settings["solver_choice"]`` and in the log of ``parallel_mcmc``.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.2)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(3), 500, solver=pm.auto("cpu"))
    >>> trace.settings["solver_choice"]
    'sequential: on a CPU steps run fastest one after the other'
    """
    if num_pilot_steps < 2:
        raise ValueError(f"num_pilot_steps must be at least 2, got {num_pilot_steps}.")
    check_limits(tol, max_iterations)
    return Auto(platform, num_pilot_steps, max_dense, memory, tol, max_iterations)


def choose(
    solver: Solver | Auto | None,
    window: int | None,
    num_steps: int,
    x: Any,
    attempt: Attempt | None,
    num_chains: int = 1,
    profile: Callable[[], Profile] = Profile,
    growth: Growth | None = None,
    num_devices: int = 1,
) -> Choice:
    """The solver and the window for a chain.

    Args:
        solver: as given by the user. A `Solver` is kept, with at most 200 iterations if it has no
            limit; None is `auto()`.
        window: as given by the user; None for as long as the memory allows.
        num_steps: T.
        x: the state as a vector, or its shape and dtype.
        attempt: how to run the pilot; None if it cannot be run.
        num_chains: chains that share the memory.
        profile: of a step; called only if it matters.
        growth: of perturbations, if it is known.
        num_devices: over which the chain's time lies.
    """
    whole = check_window(window, num_steps)
    options = auto() if solver is None else solver
    if not isinstance(options, Solver | Auto):
        raise TypeError(
            f"solver must be a Solver such as pm.deer(), or pm.auto(), got {type(solver).__name__}."
        )
    limit = options.max_iterations or MOST_ITERATIONS
    if isinstance(options, Solver):
        options = dataclasses.replace(options, max_iterations=limit)
        return Choice(options, whole, f"{options.name}: as asked")
    memory = options.memory or default_memory()
    itemsize = x.dtype.itemsize * num_chains
    decision = Decision(sequential(), "on a CPU steps run fastest one after the other")
    if compares(options, num_devices):
        length = min(whole, window_for(jacobi(), num_steps, x.size, itemsize, memory))
        cores = num_devices if platform_of(options) == "cpu" else 0
        decision = decide(
            options, num_steps, x, memory, attempt, profile(), length, num_chains, growth, cores,
            num_devices,
        )  # fmt: skip
    why = decision.why
    if decision.advice and platform_of(options) != "cpu" and not jax.process_index():
        message = f"The chain runs step by step, which is slow on an accelerator: {why}."
        warnings.warn(f"{message} {decision.advice}.", ConvergenceWarning, stacklevel=3)
    if options.max_iterations is None:  # num_steps iterations always suffice
        while limit < min(AS_FORESEEN * decision.iterations, num_steps):
            limit *= 2
    steps = whole
    if window is None:
        steps = window_for(decision.solver, num_steps, x.size, itemsize, memory)
        if steps < num_steps:
            why += f"; windows of {steps} steps for {memory / 1e6:,.0f} MB"
    chosen = dataclasses.replace(decision.solver, tol=options.tol, max_iterations=limit)
    choice = Choice(chosen, steps, f"{chosen.name}: {why}", decision.exponent, decision.in_turn)
    logger.info("%s", choice.reason)
    return choice


def any_traced(tree: Any) -> bool:
    """Whether values are traced, so that no pilot can be run."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def compares(solver: Solver | Auto | None, num_devices: int = 1) -> bool:
    """Whether there are several solvers to choose from."""
    if isinstance(solver, Solver):
        return False
    return platform_of(solver) != "cpu" or num_devices > 1


def platform_of(solver: Auto | None) -> str:
    return (solver and solver.platform) or jax.default_backend()


def default_memory() -> float:
    return device_memory(unknown=2e9) / 2
