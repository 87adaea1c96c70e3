"""A warm-up in parallel as users call it: helpers around a position, and what they found."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.rows import first_of
from parallel_mcmc._mcmc.helpers import scatter
from parallel_mcmc._mcmc.pool import Summary
from parallel_mcmc._mcmc.pooling import estimate_of
from parallel_mcmc._mcmc.rounds import TUNING, WIDEST_GAP, adapt_and_tune

FEWEST_HELPERS = 8
"""The fewest from which R-hat and a covariance mean something."""

NUM_HELPERS = 64
"""The default."""

FEWEST_STEPS = 200
"""The fewest with which helpers are tried: ten rounds."""

RADIUS = 2.0
"""Of the helpers' starts, in unconstrained values: as in NumPyro's `init_to_uniform`."""

GOES_ON = (
    "`blackjax.window_adaptation` goes on from there, one step after the other; give more `{}`, or "
    "reparameterise"
)
"""What follows with BlackJAX, given the name of the setting: see `warn_unsettled`."""


class AdaptationWarning(UserWarning):
    """A warm-up in parallel did not settle, or found settings that do not suit the chain."""


def fewest_steps(num_integration_steps: int | None) -> int:
    """The fewest for helpers, and to tune the step size for so many leapfrog steps, if not None."""
    return FEWEST_STEPS + (0 if num_integration_steps is None else TUNING)


def check_helpers(num_helpers: int, others: str = "") -> None:
    """Refuse too few; ``others`` says which other values have a meaning of their own."""
    if num_helpers < FEWEST_HELPERS:
        raise ValueError(
            f"num_helpers must be at least {FEWEST_HELPERS}{others}, got {num_helpers}; "
            f"{NUM_HELPERS} is the default."
        )


def why_unsettled(num_gradients: Any, rhat: Any, gap: Any, worst: Any, position: Any) -> str:
    """Why the helpers have not settled, for the worst of one or more chains, in words.

    Args:
        num_gradients, rhat, gap, worst: of each chain, as in `pool.Summary`; R-hat is 0 where
            there was no round.
        position: a position, for the names of its parts.
    """
    of_all = np.broadcast_arrays(*map(np.atleast_1d, (rhat, gap, worst)))
    rhat, gap, worst = (values[np.argmax(of_all[0])] for values in of_all)
    after = (
        f"the helpers of the warm-up had not settled after {int(np.max(num_gradients))} gradients"
    )
    if not rhat:
        return after
    where = f"{name_of(int(worst), position)} (R-hat {rhat:.2f})"
    if gap > WIDEST_GAP:
        return f"{after}, and seem to sit in several modes, farthest apart in {where}"
    return f"{after}, and have not forgotten where they started, least of all in {where}"


def name_of(index: int, position: Any) -> str:
    """The name of one number of a position's vector; behind the last it is the log density.

    >>> import jax.numpy as jnp
    >>> [name_of(i, {"b": jnp.zeros((2, 2)), "a": jnp.zeros(())}) for i in (0, 3, 5)]
    ['`a`', '`b[1, 0]`', 'the log density']
    >>> name_of(1, jnp.zeros(2))
    '`position[1]`'
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(position)[0]:
        size, shape = int(np.size(leaf)), np.shape(leaf)
        if index < size:
            name = ".".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
            place = [int(i) for i in np.unravel_index(index, shape)]
            return f"`{name or 'position'}{place or ''}`"
        index -= size
    return "the log density"


class PoolInfo(NamedTuple):
    """How a warm-up in parallel went.

    Attributes:
        settled: whether the helpers had forgotten where they started, and accepted as they should.
            Some trajectories may still diverge if ``rounds.num_divergent`` of the last is not zero.
        num_gradients: gradients that followed one another: the critical path.
        num_rounds: how many there were.
        from_mode: whether the helpers started around the mode, because a normal there is nearly the
            posterior.
        rounds: what each of them found, with a leading axis of ``num_rounds``.
        positions: where the helpers are, ``(num_helpers, ...)``: starts for chains.
    """

    settled: Bool[Array, ""]
    num_gradients: Int[Array, ""]
    num_rounds: Int[Array, ""]
    from_mode: Bool[Array, ""]
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
    max_steps: int,
    is_mass_matrix_diagonal: bool | None,
    target_acceptance_rate: float,
    num_helpers: int,
    radius: float,
    num_integration_steps: int | None = None,
) -> Found:
    """Helpers around one position, adapted; as one program.

    The step size is for trajectories of ``num_integration_steps``. If that is None, or there are
    too few steps to find it, it is for trajectories of the helpers' own length.
    """
    if num_integration_steps is not None:
        enough = max_steps >= fewest_steps(num_integration_steps)
        num_integration_steps = int(num_integration_steps) if enough else None
    dim = ravel_pytree(position)[0].size
    estimate = estimate_of(dim, is_mass_matrix_diagonal)
    found = _adapt_helpers(
        logdensity_fn, estimate, target_acceptance_rate, num_helpers, radius,
        num_integration_steps, rng_key, position, jnp.asarray(max_steps, jnp.int32),
    )  # fmt: skip
    made = jax.tree.map(lambda leaf: leaf[: int(found.info.num_rounds)], found.info.rounds)
    return found._replace(info=found.info._replace(rounds=made))


@compiled(num_static=6)
def _adapt_helpers(
    logdensity_fn, estimate, target_acceptance_rate, num_helpers, radius,
    num_integration_steps, rng_key, position, max_steps,
):  # fmt: skip
    x, unravel = ravel_pytree(position)
    key_start, key_rounds, key_tune = jax.random.split(rng_key, 3)

    def of_vector(x):
        return logdensity_fn(unravel(x))

    pool = adapt_and_tune(
        of_vector,
        (key_rounds, key_tune),
        scatter(key_start, x, num_helpers, radius),
        max_steps,
        estimate,
        target_acceptance_rate,
        num_integration_steps,
    )
    info = PoolInfo(
        settled=pool.settled,
        num_gradients=pool.num_gradients,
        num_rounds=pool.num_rounds,
        from_mode=pool.from_mode,
        rounds=pool.summaries,
        positions=jax.vmap(unravel)(pool.x),
    )
    return Found(jnp.exp(pool.log_step_size), pool.inverse_mass_matrix, info)


def warn_unsettled(info: PoolInfo, so: str, stacklevel: int) -> None:
    """Warn that the helpers have not settled, and say what follows.

    ``stacklevel`` is as in `warnings.warn`, counted from the caller.
    """
    last = jax.tree.map(lambda leaf: leaf[-1] if len(leaf) else np.zeros(()), info.rounds)
    why = why_unsettled(
        info.num_gradients, last.rhat, last.gap, last.worst, first_of(info.positions)
    )
    warnings.warn(f"{why}, so that {so}.", AdaptationWarning, stacklevel=stacklevel + 1)
