"""Warm-up: a step size and a metric, and kernels that use them.

BlackJAX's window adaptation (that of Stan) runs on every chain by itself, from a
start of its own. The chains then share one kernel: the mean of their variances
is its metric and the median of their step sizes its step size.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc.kernels.hmc import hmc
from parallel_mcmc.kernels.mala import mala
from parallel_mcmc.kernels.random_walk import random_walk
from parallel_mcmc.programs import compiled
from parallel_mcmc.rows import first_of

LogDensity = Callable[[Any], Float[Array, ""]]


class Adapted(NamedTuple):
    """What a warm-up found.

    Attributes:
        position: the last one of each chain, ``(chains, ...)``.
        step_size: a number.
        inverse_mass_matrix: variances ``(D,)`` or a covariance ``(D, D)``, in the order of
            `jax.flatten_util.ravel_pytree`.
    """

    position: Any
    step_size: float
    inverse_mass_matrix: Array


class Tuned(NamedTuple):
    """A kernel for `parallel_mcmc.sample`, where its chains start, and its settings in words."""

    kernel: Any
    position: Any
    settings: str


def adapt(
    rng_key: Any,
    algorithm: str,
    logdensity_fn: LogDensity,
    positions: Any,
    num_steps: int,
    is_mass_matrix_diagonal: bool,
    target_acceptance_rate: float,
    **parameters: Any,
) -> Adapted:
    """Run `blackjax.window_adaptation` on every chain and pool what it finds.

    Args:
        rng_key: typed or raw.
        algorithm: the name of one of BlackJAX's, ``"hmc"`` or ``"nuts"``.
        logdensity_fn: of a position.
        positions: a start for each chain, ``(chains, ...)``.
        num_steps: of each chain.
        is_mass_matrix_diagonal, target_acceptance_rate, parameters: as BlackJAX has them.
    """
    num_chains = jax.tree.leaves(positions)[0].shape[0]
    position, found = _adapt(
        algorithm, logdensity_fn, num_steps, is_mass_matrix_diagonal, target_acceptance_rate,
        tuple(parameters.items()), jax.random.split(rng_key, num_chains), positions,
    )  # fmt: skip
    return Adapted(
        position,
        float(jnp.median(found["step_size"])),
        jnp.mean(found["inverse_mass_matrix"], axis=0),
    )


@compiled(num_static=6)
def _adapt(
    algorithm, logdensity_fn, num_steps, is_mass_matrix_diagonal, target_acceptance_rate,
    parameters, keys, positions,
):  # fmt: skip
    import blackjax

    adaptation = blackjax.window_adaptation(
        getattr(blackjax, algorithm),
        logdensity_fn,
        is_mass_matrix_diagonal=is_mass_matrix_diagonal,
        target_acceptance_rate=target_acceptance_rate,
        adaptation_info_fn=lambda *_: None,
        **dict(parameters),
    )

    def run(key, position):
        results, _ = adaptation.run(key, position, num_steps)
        return results.state.position, results.parameters

    return jax.vmap(run)(keys, positions)


def tuned_hmc(
    rng_key: Any,
    logdensity_fn: LogDensity,
    positions: Any,
    num_steps: int,
    is_mass_matrix_diagonal: bool = True,
    trajectory_length: float = math.pi / 2,
) -> Tuned:
    """`hmc` with trajectories of one length, in leapfrog steps of at most the adapted size.

    Args:
        rng_key, logdensity_fn, positions, num_steps, is_mass_matrix_diagonal: as in `adapt`.
        trajectory_length: step size times number of steps. In the adapted coordinates a quarter
            period, pi / 2, forgets the start of a normal posterior altogether.
    """
    found = adapt(
        rng_key, "hmc", logdensity_fn, positions, num_steps,
        is_mass_matrix_diagonal, 0.9, num_integration_steps=8,
    )  # fmt: skip
    num_integration_steps = math.ceil(trajectory_length / found.step_size)
    step_size = trajectory_length / num_integration_steps
    kernel = hmc(
        logdensity_fn,
        first_of(positions),
        step_size,
        found.inverse_mass_matrix,
        num_integration_steps,
    )
    return Tuned(
        kernel, found.position, f"{num_integration_steps} leapfrog steps of {step_size:.3g}"
    )


def tuned_mala(
    rng_key: Any,
    logdensity_fn: LogDensity,
    positions: Any,
    num_steps: int,
    is_mass_matrix_diagonal: bool = True,
) -> Tuned:
    """`mala`, adapted to an acceptance rate of 0.8.

    Step by step 0.57 is best. Solved in parallel the larger steps take several times the
    iterations, which their shorter memory does not make up for.

    HMC with a single leapfrog step h is MALA with eps = h^2 / 2, and HMC is what BlackJAX adapts.
    """
    found = adapt(
        rng_key, "hmc", logdensity_fn, positions, num_steps,
        is_mass_matrix_diagonal, 0.8, num_integration_steps=1,
    )  # fmt: skip
    step_size = found.step_size**2 / 2
    kernel = mala(logdensity_fn, first_of(positions), step_size, found.inverse_mass_matrix)
    return Tuned(kernel, found.position, f"step size {step_size:.3g}")


def tuned_random_walk(
    rng_key: Any,
    logdensity_fn: LogDensity,
    positions: Any,
    num_steps: int,
    is_mass_matrix_diagonal: bool = True,
) -> Tuned:
    """`random_walk` with steps of 2.38 / sqrt(D) standard deviations, which HMC finds.

    Of a dense metric the diagonal is used.
    """
    found = adapt(
        rng_key, "hmc", logdensity_fn, positions, num_steps,
        is_mass_matrix_diagonal, 0.8, num_integration_steps=8,
    )  # fmt: skip
    metric = found.inverse_mass_matrix
    variances = metric if metric.ndim == 1 else jnp.diagonal(metric)
    relative = 2.38 / math.sqrt(variances.size)
    sigma = relative * jnp.sqrt(variances)
    kernel = random_walk(logdensity_fn, first_of(positions), sigma)
    return Tuned(kernel, found.position, f"steps of {relative:.3g} standard deviations")


def tuned_nuts(
    rng_key: Any,
    logdensity_fn: LogDensity,
    positions: Any,
    num_steps: int,
    is_mass_matrix_diagonal: bool = True,
) -> Tuned:
    """`blackjax.nuts` as BlackJAX adapts it."""
    import blackjax

    found = adapt(
        rng_key, "nuts", logdensity_fn, positions, num_steps, is_mass_matrix_diagonal, 0.8
    )
    kernel = blackjax.nuts(logdensity_fn, found.step_size, found.inverse_mass_matrix)
    return Tuned(kernel, found.position, f"step size {found.step_size:.3g}")
