"""`auto`: choose the solver from the platform, the size of the chain, memory and the first steps.

1. On a CPU steps run one after the other: a parallel solve does more work at the same speed.
2. Elsewhere the first steps, up to 256, are run one by one, and the exponent of a perturbation
   is estimated along them. If it is positive no parallel method helps, and the chain runs step by
   step. Jacobi is taken if it is expected to need few iterations: it needs no derivative, and
   nothing else has to be compiled.
3. Otherwise a pilot, a quarter of the chain or up to 1,024 steps from the same start, is solved by
   Jacobi, quasi-DEER and, up to ``max_dense`` unknowns, DEER, in at most 200 iterations, or half as
   many as steps. The one with the fewest gradients in turn is taken. Jacobi is judged by the
   iterations expected for the whole chain: they do not grow with the chain, and may be more than
   the pilot has steps. Solvers that need a batch or derivative that JAX does not have are not
   tried: see `linearize.Ability`.
4. If no solver solves its pilot, and Jacobi is expected to need more than two thirds as many
   iterations as steps, the chain runs step by step. A long pilot shows whether iterations grow
   with the chain, as those of random walks do.
5. The window is as long as the memory allows.

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

from parallel_mcmc._core.linearize import Ability
from parallel_mcmc._core.options import written
from parallel_mcmc._core.pilot import PART_THAT_PAYS, Attempt, Decision, decide, window_for
from parallel_mcmc._core.report import ConvergenceWarning
from parallel_mcmc._core.solvers import MOST_ITERATIONS, Solver, check_limits, jacobi, sequential
from parallel_mcmc._core.time_blocks import device_memory
from parallel_mcmc._core.windows import check_window

AS_FORESEEN = 4
"""The iteration limit, as a multiple of what Jacobi is expected to need, if more than 200.

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
        exponent: of a perturbation along the first steps of the chain, in nats per step; None if
            they were not run.
    """

    solver: Solver
    window: int
    reason: str
    exponent: float | None = None


def auto(
    platform: str | None = None,
    num_pilot_steps: int = 1_024,
    max_dense: int = 64,
    memory: float | None = None,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Auto:
    """Choose the solver for a given chain: the default wherever a solver is an argument.

    Args:
        platform: ``"cpu"`` or another; by default the platform of JAX's default device. On a CPU
            the choice is `sequential()`.
        num_pilot_steps: most steps of the pilot, at least 2. The pilot is a quarter of the chain
            if that is less, but at least 256 steps, or the chain; and no longer than a window.
        max_dense: unknowns up to which DEER is tried; it stores the square of that per step.
        memory: bytes for the arrays of one window, all chains together; by default half of the
            device's memory, or 1e9 if JAX does not know that.
        tol: of the solver that is chosen, as in `Solver`.
        max_iterations: the same; by default 200. If Jacobi is chosen, this is doubled until it is
            four times the expected number of iterations, as on a chain that forgets slowly.

    With several chains, the first one decides. Costs 256 steps one by one and a perturbation along
    them, and if that does not decide, up to three compilations and three solves of the pilot. Under
    NumPyro's own `MCMC` the choice is made in `init`, for a chain as long as a window, if helpers
    have done the warm-up of the first chain. Inside `jit` there can be no pilot: the choice is DEER
    up to ``max_dense`` unknowns, and quasi-DEER above. Without forward-mode derivatives it is
    Jacobi, and step by step if JAX cannot batch a step.

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
    able: Callable[[], Ability] = lambda: Ability.DERIVATIVES,
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
        able: what JAX can do with a step; called only if the answer matters.
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
    if compares(options):
        length = min(whole, window_for(jacobi(), num_steps, x.size, itemsize, memory))
        most = int(PART_THAT_PAYS * length)
        decision = decide(options, num_steps, x, memory, attempt, able, most)
    why = decision.why
    if decision.advice and not jax.process_index():
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
    choice = Choice(chosen, steps, f"{chosen.name}: {why}", decision.exponent)
    logger.info("%s", choice.reason)
    return choice


def any_traced(tree: Any) -> bool:
    """Whether values are traced, so that no pilot can be run."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def compares(solver: Solver | Auto | None) -> bool:
    """Whether there are several solvers to choose from."""
    if isinstance(solver, Solver):
        return False
    return ((solver and solver.platform) or jax.default_backend()) != "cpu"


def default_memory() -> float:
    return device_memory(unknown=2e9) / 2
