"""What a run returns: draws, statistics under ArviZ's names, and the report on the solve."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from parallel_mcmc._core.auto import Choice
from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._core.report import SolveInfo

STATS = {
    "lp": "logdensity",
    "acceptance_rate": "acceptance_rate",
    "accepted": "is_accepted",
    "diverging": "is_divergent",
    "energy": "energy",
    "n_steps": "num_integration_steps",
    "tree_depth": "num_trajectory_expansions",
    "step_size": "step_size",
}
"""Names of ArviZ's schema, and the fields of states and infos that hold them."""

WITHOUT_PRIOR = ("EllipSliceState", "MarginalState")
"""States of BlackJAX whose ``logdensity`` is only the likelihood, and so not ``lp``."""


class Trace(NamedTuple):
    """Draws, statistics and how they were found.

    Attributes:
        position: draws, a pytree of ``(chains, draws, ...)``.
        sample_stats: ``(chains, draws)`` under the names of ArviZ's schema.
        solve: `SolveInfo` with one entry per chain.
        settings: what the solve was asked for: solver and why, tolerance, window, limit; and where
            `auto` asked for it, ``pilot_exponent``: of a perturbation, in nats per step.
        predictability: `Predictability` with one entry per chain, where it was asked for.
    """

    position: Any
    sample_stats: dict[str, Array]
    solve: SolveInfo
    settings: dict[str, Any]
    predictability: Predictability | None = None

    def __repr__(self) -> str:
        leaves = jax.tree_util.tree_leaves_with_path(self.position)
        arrays = [leaf for _, leaf in leaves if is_array(leaf)]
        if not leaves or len(arrays) < len(leaves) or any(leaf.ndim < 2 for leaf in arrays):
            return tuple.__repr__(self)
        chains, draws = leaves[0][1].shape[:2]
        names = ", ".join(
            f"{jax.tree_util.keystr(path, simple=True, separator='.') or 'position'} "
            f"{leaf.shape[2:]}"
            for path, leaf in leaves
        )
        return (
            f"<Trace of {chains} chains, {draws:,} draws: {names}\n"
            f"{self.solve.summary()} ({self.settings.get('solver_choice')})>"
        )

    def to_inference_data(self, **kwargs: Any) -> Any:
        """ArviZ's container; see `parallel_mcmc.to_inference_data`."""
        from parallel_mcmc._arviz import to_inference_data

        return to_inference_data(self, **kwargs)


def is_array(leaf: Any) -> bool:
    """Whether this is an array of NumPy, JAX or zarr, and not traced."""
    return hasattr(leaf, "__array__") and not isinstance(leaf, jax.core.Tracer)


def settings_of(choice: Choice) -> dict[str, Any]:
    """`Trace.settings` of a solver that has been chosen."""
    settings = {
        "solver": choice.solver.name,
        "solver_choice": choice.reason,
        "tol": float(choice.solver.tol or 0),
        "window": choice.window,
        "max_iterations": choice.solver.max_iterations,
    }
    return settings if choice.exponent is None else settings | {"pilot_exponent": choice.exponent}


def stats_of(state: Any, info: Any) -> dict[str, Array]:
    """The statistics of one step that ArviZ has a name for."""
    found = {}
    for name, field in STATS.items():
        if name == "lp" and type(state).__name__ in WITHOUT_PRIOR:
            continue
        value = getattr(info, field, getattr(state, field, None))
        if value is not None and jnp.ndim(value) == 0:
            found[name] = jnp.asarray(value)
    return found
