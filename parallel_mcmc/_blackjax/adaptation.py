"""Warm-up in parallel, in BlackJAX's form: `parallel_adaptation(...).run(rng_key, position)`."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from parallel_mcmc._core.rows import first_of
from parallel_mcmc._mcmc.adaptation import (
    GOES_ON,
    NUM_HELPERS,
    RADIUS,
    PoolInfo,
    adapt_helpers,
    check_helpers,
    warn_unsettled,
)
from parallel_mcmc._mcmc.pooling import MAX_DENSE, variances_of


def parallel_adaptation(
    algorithm: Any,
    logdensity_fn: Callable[[Any], Float[Array, ""]],
    is_mass_matrix_diagonal: bool | None = None,
    target_acceptance_rate: float = 0.8,
    num_helpers: int = NUM_HELPERS,
    radius: float = RADIUS,
    **extra_parameters: Any,
) -> Any:
    """Adapt step_size and inverse_mass_matrix of a BlackJAX kernel with many helper chains.

    Replaces `blackjax.window_adaptation`, whose 1,000 steps take thousands of gradients one after
    the other. Here 64 helper chains take a few HMC steps at the same time, in rounds, and pool
    their draws: only a few hundred gradients follow one another. See `rounds`. If the helpers do
    not settle within ``num_steps`` steps, for example because they are in several modes,
    BlackJAX's window adaptation continues from there, and a warning says so.

    Args:
        algorithm: a BlackJAX algorithm with a step_size and an inverse_mass_matrix, such as
            ``blackjax.nuts`` or ``blackjax.hmc``.
        logdensity_fn: log density of a position, up to a constant.
        is_mass_matrix_diagonal: by default dense up to 64 unknowns; up to 512 of low rank plus a
            multiple of the variances, as a dense matrix; and diagonal above.
        target_acceptance_rate: target for the adaptation of the step size.
        num_helpers: at least 8; they cost memory, but no time on a device that has room for them.
        radius: helpers start uniformly within this distance of the position, in each unknown.
        extra_parameters: of the algorithm, such as ``num_integration_steps`` of HMC. With that, 24
            more steps tune the step size, if ``num_steps`` leaves room for them.

    Returns:
        An object with ``run(rng_key, position, num_steps=1000)``, where ``num_steps`` is the most
        steps of each helper. ``run`` returns BlackJAX's ``AdaptationResults``, with a
        state to start from and the parameters, and a `PoolInfo`.

    Raises:
        ValueError: if there are fewer than 8 helpers.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> warmup = pm.parallel_adaptation(blackjax.nuts, lambda x: -jnp.sum(x**2 / 2))
    >>> (state, parameters), info = warmup.run(jax.random.key(0), jnp.zeros(3))
    >>> sorted(parameters), bool(info.settled), bool(info.num_gradients < 400)
    (['inverse_mass_matrix', 'step_size'], True, True)
    """
    import blackjax
    from blackjax.adaptation.base import AdaptationResults
    from blackjax.base import AdaptationAlgorithm

    check_helpers(num_helpers)

    def run(rng_key: Any, position: Any, num_steps: int = 1000) -> tuple[Any, PoolInfo]:
        key_pool, key_more = jax.random.split(rng_key)
        found = adapt_helpers(
            key_pool, logdensity_fn, position, num_steps, is_mass_matrix_diagonal,
            target_acceptance_rate, num_helpers, radius,
            extra_parameters.get("num_integration_steps"),
        )  # fmt: skip
        parameters = {
            "step_size": found.step_size,
            "inverse_mass_matrix": found.inverse_mass_matrix,
        } | extra_parameters
        start = first_of(found.info.positions)
        if found.info.settled:
            return AdaptationResults(algorithm.init(start, logdensity_fn), parameters), found.info
        warn_unsettled(found.info, GOES_ON.format("num_steps"), stacklevel=2)
        matrix = found.inverse_mass_matrix
        # A covariance of many unknowns needs more draws than one chain provides.
        if is_mass_matrix_diagonal is None and len(matrix) > MAX_DENSE:
            matrix = variances_of(matrix)
        window_adaptation = blackjax.window_adaptation(
            algorithm,
            logdensity_fn,
            is_mass_matrix_diagonal=matrix.ndim == 1,
            initial_inverse_mass_matrix=matrix,
            initial_step_size=found.step_size,
            target_acceptance_rate=target_acceptance_rate,
            **extra_parameters,
        )
        results, _ = window_adaptation.run(key_more, start, num_steps)
        return results, found.info

    return AdaptationAlgorithm(run)
