"""A whole metric where NumPyro's warm-up would adapt variances alone: above 64 unknowns.

Helpers find correlations of hundreds of unknowns, of low rank, where one chain has too few draws
for them. So the state of adaptation has a whole matrix from the beginning; if the helpers did not
settle, NumPyro's warm-up goes on with it until it has variances of its own to put in its place.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._core.rows import either

METRIC = ("inverse_mass_matrix", "mass_matrix_sqrt", "mass_matrix_sqrt_inv")
"""Fields of NumPyro's state of adaptation that are of the metric's shape."""


def with_whole(adapt_state: Any, whole: Any) -> Any:
    """The state with the metric of another one."""
    return adapt_state._replace(**metric_of(whole))


def updated_beneath(update: Callable[[Any], Any], adapt_state: Any) -> Any:
    """The update of a state with variances, made of one with a whole metric.

    That stays until the update finds other variances.
    """
    whole = metric_of(adapt_state)
    variances = jax.tree.map(jnp.diagonal, whole)
    found = update(adapt_state._replace(**variances))
    new = metric_of(found)
    same = jax.tree.map(lambda a, b: jnp.all(a == b), new, variances)
    stays = jnp.all(jnp.stack(jax.tree.leaves(same)))
    return found._replace(**either(stays, whole, jax.tree.map(jnp.diag, new)))


def metric_of(adapt_state: Any) -> dict[str, Any]:
    return {name: getattr(adapt_state, name) for name in METRIC}
