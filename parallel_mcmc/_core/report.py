"""What a solve returns, and the messages if some of it was made step by step."""

import enum
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

MOST_TIES = 0.01
"""Ties allowed as a share of all steps, beyond the first. In float32 rounding flips one decision in
1e5, or in 1e3 where a log density has thousands of nats. More ties show that the steps of the
last pass are not those of the solve."""


def most_ties(num_steps: int) -> int:
    """The number of ties up to which a solve is trusted."""
    return 1 + int(MOST_TIES * num_steps)


ADVICE = "Try a smaller `step_size`, whitened coordinates or another solver such as `pm.deer()`"
"""Where a chain was not solved."""


class Status(enum.IntEnum):
    """How a solve ended."""

    CONVERGED = 0
    """Every step is solved (or was run step by step on request)."""
    FINISHED_SEQUENTIALLY = 1
    """Iterations did not reach the end; the rest was run step by step. The chain is right."""
    NON_FINITE = 2
    """The recursion itself returns a non-finite value; the trajectory is what f returns."""


class SolveInfo(NamedTuple):
    """What a solve did, as arrays: usable inside `jit`, with a leading axis under `vmap`.

    Attributes:
        status: a `Status`.
        num_iterations: parallel iterations, summed over windows.
        num_in_turn: evaluations of f that had to follow one another in these iterations: one per
            iteration of Jacobi or Picard, and three where derivatives are needed, because a product
            with a Jacobian takes two. A check of states nearby counts one.
        residual: largest entry of x_t - f(x_{t-1}, u_t) when the iterations stopped, in units
            of the scale of its coordinate.
        frontier: leading steps that were solved in parallel without a gap; if the chain is
            not finite, the steps before the first non-finite state.
        num_sequential_steps: steps that were run one by one after the iterations.
        num_resets: states replaced during the iterations because they were not finite, or because
            the chain had stood still before them.
        num_limited: linear maps whose norm was limited, or corrections that were penalised.
        num_trembling: steps accepted although their residual, which is within the rounding of a
            step, did not settle: see `trembling` in the docs, How it works. At all others x_t is
            f(x_{t-1}, u_t) to the last bit, unless ``tol`` allows an error.
        num_ties: steps of a kernel whose accept decision ties within rounding. It flips at states a
            few ulp away, or in the pass after the solve; the larger of the two counts is reported.
            The solve's decision stands, unless there are more ties than rounding can explain: then
            the chain is run step by step.
    """

    status: Int[Array, ""]
    num_iterations: Int[Array, ""]
    num_in_turn: Int[Array, ""]
    residual: Float[Array, ""]
    frontier: Int[Array, ""]
    num_sequential_steps: Int[Array, ""]
    num_resets: Int[Array, ""]
    num_limited: Int[Array, ""]
    num_trembling: Int[Array, ""]
    num_ties: Int[Array, ""]

    def summary(self, what: str = "", details: bool = False) -> str:
        """One line for one chain or several: iterations, and how many steps ran one by one.

        Args:
            what: what was solved for, such as ``"500 draws"``.
            details: whether to add the residual, and steps that are right up to rounding, as is
                done when the report itself is printed.

        >>> import jax.numpy as jnp, parallel_mcmc as pm
        >>> f = lambda x, u: jnp.tanh(x) / 2 + u
        >>> info = pm.solve(f, jnp.zeros(1), jnp.zeros((9, 1)), solver=pm.deer()).info
        >>> print(info.summary())
        Solved in parallel: 1 iteration
        >>> print(info)
        <Solved in parallel: 1 iteration, residual 0.0e+00>
        """
        info = jax.tree.map(np.atleast_1d, jax.device_get(self))
        if not info.num_iterations.any():
            return "Run step by step" + (f": {what}" if what else "")
        solved, chains = int(np.sum(info.status == Status.CONVERGED)), info.status.size
        low, high = int(info.num_iterations.min()), int(info.num_iterations.max())
        by_hand = int(info.num_sequential_steps.sum())
        return (
            ("Solved in parallel: " if solved or chains > 1 else "Not solved in parallel: ")
            + (f"{solved} of {chains} chains, " if chains > 1 else "")
            + (f"{low:,}" if low == high else f"{low:,}-{high:,}")
            + (" iteration" if high == 1 else " iterations")
            + (f" for {what}" if what else "")
            + (f", {by_hand:,} steps one by one" if by_hand else "")
            + (f", residual {info.residual.max():.1e}" if details else "")
            + (remarks(info) if details else "")
        )

    def __repr__(self) -> str:
        known = all(isinstance(x, np.ndarray | np.generic | jax.Array) for x in self)
        if not known or any(isinstance(x, jax.core.Tracer) for x in self):
            return tuple.__repr__(self)
        return f"<{self.summary(details=True)}>"


class Solution(NamedTuple):
    """The trajectory x_1..x_T (leading axis: time) and how it was found.

    Attributes:
        predictability: `Predictability` of the trajectory, if requested.
    """

    trajectory: Any
    info: SolveInfo
    predictability: Any = None


class ConvergenceWarning(UserWarning):
    """A chain was not solved in parallel as a whole; the rest was made step by step."""


class ConvergenceError(RuntimeError):
    """A chain was not solved in parallel and ``on_failure="raise"`` was given.

    Nothing computed is lost: `result` is what would have been returned.
    """

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


def check_on_failure(on_failure: str) -> None:
    """Check the option before a long computation starts."""
    if on_failure not in ("finish", "raise"):
        raise ValueError(f'on_failure must be "finish" or "raise", got {on_failure!r}.')


def report(info: SolveInfo, on_failure: str, result: Any, advice: str = ADVICE) -> None:
    """Warn or raise outside `jit`, with a next step; the error holds ``result``."""
    if isinstance(info.status, jax.core.Tracer):
        return
    message = describe_failure(info, advice)
    if message and on_failure == "raise":
        raise ConvergenceError(message, result)
    # Processes that share a chain all have its report; one of them says it.
    is_shared = isinstance(info.status, jax.Array) and not info.status.is_fully_addressable
    if message and not (is_shared and jax.process_index()):
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


def describe_failure(info: SolveInfo, advice: str = ADVICE) -> str | None:
    """What went wrong and what to try, or None; for one chain or for several."""
    status, iterations, residual, frontier, steps, ties = (
        np.atleast_1d(x)
        for x in (
            info.status,
            info.num_iterations,
            info.residual,
            info.frontier,
            info.num_sequential_steps,
            info.num_ties,
        )
    )
    failed = np.flatnonzero(status != Status.CONVERGED)
    if not failed.size:
        return None
    # The most serious status first, then the most steps run one by one.
    worst = max(failed, key=lambda i: (status[i], steps[i]))
    chain = (
        f"{failed.size} of {status.size} chains were not solved in parallel; chain {worst}: "
        if status.size > 1
        else ""
    )
    if status[worst] == Status.NON_FINITE:
        return (
            f"{chain}the recursion itself returned a non-finite state after step "
            f"{frontier[worst]}; the trajectory is what it gives step by step. Look at f (or the "
            "log density) there."
        )
    if frontier[worst] == 0 and ties[worst] > most_ties(int(steps[worst])):
        return (
            f"{chain}{ties[worst]} steps of the solved chain came out otherwise in a second "
            "evaluation, or a few ulp away, more than rounding explains, so it was run one by one; "
            "look for what in the kernel depends on batching, or enable `jax_enable_x64`."
        )
    return (
        f"{chain}the solve stopped after {iterations[worst]} iterations with residual "
        f"{residual[worst]:.1e} at step {frontier[worst]}; {steps[worst]} steps were run one by "
        f"one, so the chain is right but slow. {advice}; where residuals of rounding stay, "
        "`jax_enable_x64`."
    )


def remarks(info: SolveInfo) -> str:
    """What a report adds if some step is not exact or a decision tied; mostly empty."""
    trembling, ties = int(np.sum(info.num_trembling)), int(np.sum(info.num_ties))
    return (f", {trembling:,} steps right up to rounding" if trembling else "") + (
        f", {ties:,} decision{'s' * (ties != 1)} tied within rounding" if ties else ""
    )
