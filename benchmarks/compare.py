"""Is it the sequential chain? Differences in units of the posterior, and decisions that tied."""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc import Transition

TOLERANCE = 1e-3
"""Standard deviations by which a step may differ and still count as the same."""


def as_rows(history: Any) -> np.ndarray:
    """A history of positions as ``(T, D)`` in float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(history)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def accept_rate(reference: np.ndarray) -> float:
    """Share of steps at which the sequential chain moved: what a Metropolis kernel accepted."""
    return float(np.any(np.diff(reference, axis=0) != 0, axis=1).mean())


def min_ess(chains: list[np.ndarray]) -> float:
    """Bulk effective sample size of the chains together, the least over coordinates."""
    import arviz

    from parallel_mcmc._arviz import build

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains")
        data = build({"posterior": {"x": np.stack(chains)}}, {})
    return float(np.min(np.asarray(arviz.ess(data)["x"])))


def apart(chain: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """A NaN counts as infinitely far."""
    return np.where(np.isfinite(chain), np.abs(chain - reference), np.inf)


def differ(chain: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of each step, whether it is another."""
    return np.any(apart(chain, reference) / reference.std(axis=0) > TOLERANCE, axis=1)


def differences(chain: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Largest difference, absolute and in standard deviations, and steps that differ."""
    distance = apart(chain, reference)
    return {
        "max_difference": float(distance.max()),
        "max_difference_sd": float((distance / reference.std(axis=0)).max()),
        "num_steps_differ": int(differ(chain, reference).sum()),
    }


def num_wrong_steps(transition: Transition, state: Any, inputs: Any, history: Any) -> int | None:
    """Steps that the kernel does not make from the position before them, up to `TOLERANCE`.

    Two programs round differently, and a chain that expands makes two chains of that, of which
    neither is wrong. None for kernels whose state is more than a position.
    """
    if transition.ravel(state).size != sum(map(np.size, jax.tree.leaves(state.position))):
        return None
    start = jax.tree.map(lambda leaf: leaf[None], state.position)
    before = jax.tree.map(lambda x0, x: jnp.concatenate([x0, x[:-1]]), start, history)

    def step(position, u):
        state = transition.init(position, jax.random.key(0))  # of which a position needs none
        return transition.step(state, u)[0].position

    with jax.default_matmul_precision("highest"):  # as in the solve, on devices that take less
        made = jax.jit(jax.vmap(step))(before, inputs)
    return int(differ(as_rows(made), as_rows(history)).sum())


def first_difference(
    transition: Transition, state: Any, inputs: Any, chain: np.ndarray, reference: Any
) -> dict[str, Any]:
    """The first step that differs, and how close its accept decision was.

    ``tie_margin`` is |log u - log ratio| there: of the size of the rounding of the log density
    where two chains part because a decision tied. Both are None where no step differs.
    """
    steps = np.flatnonzero(differ(chain, as_rows(reference)))
    t = int(steps[0]) if steps.size else None
    if t is None or not hasattr(inputs, "log_uniform"):
        return {"first_difference": t, "tie_margin": None}
    if t > 0:
        state = transition.init(jax.tree.map(lambda leaf: leaf[t - 1], reference))
    u = jax.tree.map(lambda leaf: leaf[t], inputs)
    _, info = transition.step(state, u)
    margin = abs(math.log(float(info.acceptance_rate)) - float(u.log_uniform))
    return {"first_difference": t, "tie_margin": margin}
