"""What the progress bars of an `MCMC` show of its chains, and when."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from parallel_mcmc._core.programs import ready
from parallel_mcmc._mcmc.progress import note, showing
from parallel_mcmc._numpyro.state import ParallelState

NUM_PIECES = 20
"""Pieces of a warm-up step by step; its bar moves after each of them."""


def warmed_up(
    run: Callable, state: ParallelState, num_steps: int, num_chains: int, shown: bool, cuts: bool
) -> tuple[Any, ParallelState]:
    """A warm-up step by step; in pieces if a bar is to show them and it may be cut (``cuts``).

    ``run((state, number)) -> (collected, state)`` is one program for pieces of any length.
    """
    if not shown:
        return ready(run((state, num_steps)))
    length = -(-num_steps // NUM_PIECES) if cuts else num_steps
    with showing(num_chains * num_steps, True, "warm-up", "step") as bar:
        for begin in range(0, num_steps, length):
            end = min(begin + length, num_steps)
            collected, state = ready(run((state, end - begin)))
            note(bar, num_chains * end, **facts([state]))
    return collected, state


def after_helpers(bar: int, state: ParallelState) -> None:
    """Show how far the helpers of the chains got: gradients in turn, step size, R-hat."""
    if not bar:
        return
    warmup = jax.device_get(state.warmup)
    step_size = np.max(jax.device_get(state.adapt_state.step_size))
    found = {"step_size": step_size, "R-hat": np.max(warmup.rhat)}
    note(bar, int(np.max(warmup.num_gradients)), **found)


def facts(states: Any) -> dict[str, Any]:
    """What a bar shows of chains, or batches of them, as they are now."""
    found = {"acceptance": [state.mean_accept_prob for state in states]}
    if states[0].adapt_state is not None:
        found = {"step_size": [state.adapt_state.step_size for state in states]} | found
    return {
        name: np.concatenate([np.ravel(x) for x in jax.device_get(values)])
        for name, values in found.items()
    }


def divergences(fields: tuple[str, ...], collected: Any) -> np.ndarray | int:
    """Divergences of each chain, from what was collected, with axes of draws, then of chains."""
    if "diverging" not in fields:
        return 0
    diverging = [np.asarray(found[fields.index("diverging")]) for found in collected]
    return np.concatenate([np.ravel(x.sum(axis=0)) for x in diverging])
