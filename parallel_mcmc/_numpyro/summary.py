"""How a run of `MCMC` went: its critical path, who did the warm-up, and lines that say so."""

import warnings
from typing import Any

import jax
import numpy as np
from numpyro.infer import MCMC as SequentialMCMC

from parallel_mcmc._core.auto import Choice
from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.state import Chosen


class Summarised(SequentialMCMC):
    """What `MCMC` adds to NumPyro's class when it is asked how a run went.

    Attributes:
        _chosen, _settings: of the last run, by its first chain.
        _division: of it, by the helpers of its first chain.
        _stored: of the last run, if it had a store.
        _num_missing: draws that a run without a store lacks, as it was interrupted.
    """

    _chosen: Chosen | None = None
    _division: int | None = None
    _settings: dict[str, Any] | None = None
    _stored: Any = None
    _num_missing: int = 0

    @property
    def _num_drawn(self) -> int:
        """Of each chain: fewer than asked for where the run was interrupted."""
        if self._stored is None:
            return self.num_samples - self._num_missing
        return self._stored.num_samples

    def print_summary(self, prob: float = 0.9, exclude_deterministic: bool = True) -> None:
        """As `numpyro.infer.MCMC.print_summary`, with lines on the solve and a verdict if asked."""
        super().print_summary(prob=prob, exclude_deterministic=exclude_deterministic)
        if isinstance(self.sampler, ParallelKernel):
            costs = lines_on_costs(self.critical_path(), self._last_state.predictability)
            print(self.solve_summary(), *costs, sep="\n")

    def critical_path(self) -> dict[str, list[int]]:
        """Gradients that had to follow one another, per chain.

        ``warmup_gradients`` are those of the warm-up, ``choice_gradients`` those of the steps and
        pilots by which `auto` has chosen the solver, for which all chains wait, and
        ``sample_gradients`` those of the draws of the last run.

        What is evaluated side by side counts once, and a product with a step's Jacobian two for
        each gradient in it. Empty where a kernel does not count them.
        """
        if self._chosen is None:
            return {}
        num_steps = self._num_drawn * (self._division or 1)
        return critical_path(self._last_state, self._chosen.choice, num_steps)

    def solve_summary(self) -> str:
        """The solve of the last run in a line: chains, iterations, steps run one by one."""
        if self._last_state is None:
            return "Nothing was solved yet: there was no run"
        steps = f" of {self._division} steps" if (self._division or 1) > 1 else ""
        # After a warm-up alone there are no draws.
        draws = "" if self._settings is None else f"{self._num_drawn:,} draws{steps}"
        solve = self._last_state.solve.summary(draws)
        return f"{solve} ({self.solve_settings()['solver_choice']})"

    def solve_settings(self) -> dict[str, Any]:
        """How the last run was solved: solver and why, as `Trace.settings`."""
        if self._settings is not None or self._last_state is None:
            return self._settings or {}
        return settings_of_warmup(self.sampler, self._last_state)


def critical_path(state: Any, choice: Choice, num_steps: int) -> dict[str, list[int]]:
    """`MCMC.critical_path` of a chain, or a batch, ``num_steps`` steps after its warm-up."""
    state, solver = jax.device_get(state), choice.solver
    if state.adapt_state is None or state.z_grad is None:
        return {}
    solve = state.solve
    if solver.linearize is None:
        made = np.atleast_1d(num_steps * state.num_steps)
    else:
        by_hand = solve.num_sequential_steps * state.num_steps
        made = np.atleast_1d(solve.num_in_turn * (state.num_steps + 1) + by_hand)
    return {
        "warmup_gradients": np.atleast_1d(state.warmup.num_gradients).tolist(),
        # All chains wait for the pilots of the first one, whose trajectories the counts are of.
        "choice_gradients": [choice.in_turn * int(np.ravel(state.num_steps)[0] + 1)] * made.size,
        "sample_gradients": made.tolist(),
    }


def lines_on_costs(counts: dict[str, list[int]], foreseen: Predictability | None) -> list[str]:
    """The critical path, where it is known, and a verdict on the chain, where one was asked for."""
    lines = []
    if counts:
        lines.append(
            "Gradients one after the other, of the slowest chain: "
            f"{max(counts['warmup_gradients']):,} in the warm-up, "
            f"{max(counts['choice_gradients']):,} to choose a solver, "
            f"{max(counts['sample_gradients']):,} for the draws"
        )
    if foreseen is not None and np.any(foreseen.num_steps):
        lines.append(foreseen.verdict())
    return lines


def warmed_up_by_helpers(state: Any) -> np.ndarray:
    """Which chains helpers have warmed up; none for NumPyro's own kernels."""
    warmup = getattr(state, "warmup", None)
    return np.atleast_1d(False if warmup is None else jax.device_get(warmup.settled))


def warn_of_rows_without_draws(state: Any) -> None:
    """Warn of chains whose warm-up is to be collected, although helpers did it."""
    settled = warmed_up_by_helpers(state)
    if settled.any():
        warnings.warn(
            f"Helpers did the warm-up of {settled.sum()} of {settled.size} chains, so that "
            "there are no draws of it: each row that is collected of these is the start of the "
            "chain. Give the kernel `num_helpers=0` to collect steps of NumPyro's own warm-up.",
            stacklevel=3,
        )


def settings_of_warmup(kernel: ParallelKernel, state: Any) -> dict[str, Any]:
    """How the chains got there after a warm-up alone, as `Trace.settings`."""
    solver, why = "sequential", "sequential: a warm-up adapts after each step"
    if warmed_up_by_helpers(state).all():
        solver, why = "helpers", "helpers: they did the warm-up, and each row is the start"
    return kernel.settings(state) | {"solver": solver, "solver_choice": why}
