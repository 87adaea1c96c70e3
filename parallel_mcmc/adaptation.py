"""A warm-up in parallel as users call it: helpers around a position, and what they found."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.helpers import scatter
from parallel_mcmc.programs import compiled
from parallel_mcmc.rounds import MAX_DENSE, Summary, adapt_pool

FEWEST_HELPERS = 8
"""Of which R-hat and a covariance say something."""


class AdaptationWarning(UserWarning):
    """A warm-up in parallel did not settle, and was gone on with step by step."""


def check_helpers(num_helpers: int, others: str = "") -> None:
    """Refuse a few; ``others`` are values with a meaning of their own, in words."""
    if num_helpers < FEWEST_HELPERS:
        raise ValueError(
            f"num_helpers must be at least {FEWEST_HELPERS}{others}, got {num_helpers}; "
            "64 is the default."
        )


def why_unsettled(num_gradients: Any, rhat: Any) -> str:
    """Where the helpers of one or more chains have come to, the worst of them, in words."""
    rhat = float(np.max(rhat))
    seen = f" (R-hat {rhat:.2f})" if rhat else ""
    return (
        f"the helpers of the warm-up had not settled after {int(np.max(num_gradients))} "
        f"gradients{seen}"
    )


class PoolInfo(NamedTuple):
    """How a warm-up in parallel went.

    Attributes:
        settled: whether the helpers had forgotten where they started, and accepted as they should.
        num_gradients: that followed one another: the critical path.
        num_rounds: how many there were.
        rounds: what each of them found, with a leading axis of ``num_rounds``.
        positions: where the helpers are, ``(num_helpers, ...)``: starts for chains.
    """

    settled: Bool[Array, ""]
    num_gradients: Int[Array, ""]
    num_rounds: Int[Array, ""]
    rounds: Summary
    positions: Any


class Found(NamedTuple):
    """The step size, the metric and the report of a warm-up in parallel."""

    step_size: Float[Array, ""]
    inverse_mass_matrix: Array
    info: PoolInfo


def adapt_helpers(
    rng_key: Any,
    logdensity_fn: Callable[[Any], Float[Array, ""]],
    position: Any,
    max_gradients: int,
    is_mass_matrix_diagonal: bool | None,
    target_acceptance_rate: float,
    num_helpers: int,
    radius: float,
) -> Found:
    """Helpers around one position, adapted; as one program."""
    dim = ravel_pytree(position)[0].size
    is_diagonal = dim > MAX_DENSE if is_mass_matrix_diagonal is None else is_mass_matrix_diagonal
    found = _adapt_helpers(
        logdensity_fn, is_diagonal, target_acceptance_rate, num_helpers, radius,
        rng_key, position, jnp.asarray(max_gradients, jnp.int32),
    )  # fmt: skip
    made = jax.tree.map(lambda leaf: leaf[: int(found.info.num_rounds)], found.info.rounds)
    return found._replace(info=found.info._replace(rounds=made))


@compiled(num_static=5)
def _adapt_helpers(
    logdensity_fn, is_diagonal, target_acceptance_rate, num_helpers, radius,
    rng_key, position, max_gradients,
):  # fmt: skip
    x, unravel = ravel_pytree(position)
    key_start, key_rounds = jax.random.split(rng_key)
    pool = adapt_pool(
        lambda x: logdensity_fn(unravel(x)),
        key_rounds,
        scatter(key_start, x, num_helpers, radius),
        max_gradients,
        is_diagonal,
        target_acceptance_rate,
    )
    info = PoolInfo(
        settled=pool.settled,
        num_gradients=pool.num_gradients,
        num_rounds=pool.num_rounds,
        rounds=pool.summaries,
        positions=jax.vmap(unravel)(pool.x),
    )
    return Found(jnp.exp(pool.log_step_size), pool.inverse_mass_matrix, info)
