"""What a run returns: draws, statistics under ArviZ's names, and the report on the solve."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from parallel_mcmc.diagnostics import Predictability
from parallel_mcmc.report import SolveInfo

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
"""States of BlackJAX whose ``logdensity`` is the likelihood alone, and so not ``lp``."""


class Trace(NamedTuple):
    """Draws, statistics and how they were found.

    Attributes:
        position: draws, a pytree of ``(chains, draws, ...)``.
        sample_stats: ``(chains, draws)`` under the names of ArviZ's schema.
        solve: `SolveInfo` with one entry per chain.
        settings: what the solve was asked for: solver and why, tolerance, window, limit.
        predictability: `Predictability` with one entry per chain, where it was asked for.
    """

    position: Any
    sample_stats: dict[str, Array]
    solve: SolveInfo
    settings: dict[str, Any]
    predictability: Predictability | None = None

    def to_inference_data(self, **kwargs: Any) -> Any:
        """ArviZ's container; see `parallel_mcmc.to_inference_data`."""
        from parallel_mcmc.interop.arviz import to_inference_data

        return to_inference_data(self, **kwargs)


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
