"""Is it the sequential chain? Differences in units of the posterior, and decisions that tipped."""

from typing import Any

import jax
import numpy as np

from parallel_mcmc import Transition

TOLERANCE = 1e-3
"""Standard deviations by which a step may differ and still count as the same."""


def as_rows(history: Any) -> np.ndarray:
    """A history of positions as ``(T, D)`` in float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(history)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def moved(rows: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The steps at which the chain moved: for Metropolis kernels, those that were accepted."""
    return np.any(np.diff(rows, axis=0, prepend=start[None]) != 0, axis=1)


def differences(chain: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Largest difference, absolute and in standard deviations; a NaN counts as infinitely far."""
    apart = np.where(np.isfinite(chain), np.abs(chain - reference), np.inf)
    in_sd = apart / reference.std(axis=0)
    return {
        "max_difference": float(apart.max()),
        "max_difference_sd": float(in_sd.max()),
        "num_steps_differ": int(np.any(in_sd > TOLERANCE, axis=1).sum()),
    }


def first_tip(
    transition: Transition, state: Any, inputs: Any, chain: np.ndarray, reference: Any
) -> dict[str, Any]:
    """The first step that one chain accepted and the other rejected, and how close it was.

    ``tip_margin`` is |log u - log ratio|: of the size of the rounding of the log density
    where the decision was a tie. Both are None where no decision differs.
    """
    before = as_rows(jax.tree.map(lambda leaf: np.asarray(leaf)[None], state.position))[0]
    rows = as_rows(reference)
    tipped = np.flatnonzero(moved(chain, before) != moved(rows, before))
    if not tipped.size or not hasattr(inputs, "log_uniform"):
        return {"first_tip": None, "tip_margin": None}
    t = int(tipped[0])
    if t > 0:
        state = transition.init(jax.tree.map(lambda leaf: leaf[t - 1], reference))
    u = jax.tree.map(lambda leaf: leaf[t], inputs)
    _, info = transition.step(state, u)
    return {
        "first_tip": t,
        "tip_margin": float(abs(np.log(float(info.acceptance_rate)) - float(u.log_uniform))),
    }
