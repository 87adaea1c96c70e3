"""Warm-up of `python -m parallel_mcmc`: a step size and a metric, and kernels that use them.

Helpers find both in a few hundred gradients: see `rounds`. If they do not settle, BlackJAX's window
adaptation (that of Stan) continues from there, separately for each chain. The chains then share one
kernel: the mean of their variances is its metric, the median of their step sizes its step size.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._cli.kept import kept
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._mcmc.adaptation import (
    GOES_ON,
    NUM_HELPERS,
    RADIUS,
    adapt_helpers,
    fewest_steps,
    warn_unsettled,
)
from parallel_mcmc._mcmc.helpers import scatter
from parallel_mcmc._mcmc.hmc import hmc
from parallel_mcmc._mcmc.mala import mala
from parallel_mcmc._mcmc.random_walk import random_walk

LogDensity = Callable[[Any], Float[Array, ""]]


class Task(NamedTuple):
    """What is to be warmed up.

    Attributes:
        rng_key: typed or raw.
        logdensity_fn: of a position.
        position: around which chains and helpers start.
        num_chains: to return a start for.
        num_steps: the most steps of the helpers, each of them a trajectory, and steps of the
            window adaptation. There are no helpers under 200, and what tuning takes.
        is_mass_matrix_diagonal: as BlackJAX has it.
        trajectory_length: of HMC, step size times number of steps. In the adapted coordinates a
            quarter period, pi / 2, forgets the start of a normal posterior altogether.
        file: to keep what was found, so that it is not found again; None for none.
        name: what else it is kept by, such as the target and its precision.
    """

    rng_key: Any
    logdensity_fn: LogDensity
    position: Any
    num_chains: int
    num_steps: int
    is_mass_matrix_diagonal: bool = True
    trajectory_length: float = math.pi / 2
    file: Path | None = None
    name: str = ""


class Adapted(NamedTuple):
    """What a warm-up found.

    Attributes:
        position: the last one of each chain, ``(chains, ...)``.
        step_size: a number.
        inverse_mass_matrix: variances ``(D,)`` or a covariance ``(D, D)``, in the order of
            `jax.flatten_util.ravel_pytree`.
        cost: what it took, in words.
    """

    position: Any
    step_size: float
    inverse_mass_matrix: Array
    cost: str


class Tuned(NamedTuple):
    """A kernel for `parallel_mcmc.sample`, and where its chains start.

    With its settings, and what the warm-up took, in words.
    """

    kernel: Any
    position: Any
    settings: str
    cost: str


def adapt(
    task: Task,
    algorithm: str,
    target_acceptance_rate: float,
    tuned_for: int | None = None,
    **parameters: Any,
) -> Adapted:
    """`adapt_anew`, or what that found before, if the task has a file."""
    made_of = repr(
        (
            jax.random.key_data(task.rng_key).tolist(), task.name, task.num_chains, task.num_steps,
            task.is_mass_matrix_diagonal, algorithm, target_acceptance_rate, tuned_for, parameters,
        )
    )  # fmt: skip
    found = kept(
        task.file, made_of, Adapted(task.position, 0.0, jnp.zeros(()), ""),
        lambda: adapt_anew(task, algorithm, target_acceptance_rate, tuned_for, **parameters),
    )  # fmt: skip
    position, metric = jax.tree.map(jnp.asarray, (found.position, found.inverse_mass_matrix))
    return Adapted(position, float(found.step_size), metric, str(found.cost))


def adapt_anew(
    task: Task,
    algorithm: str,
    target_acceptance_rate: float,
    tuned_for: int | None = None,
    **parameters: Any,
) -> Adapted:
    """Helpers around a position, and where they do not settle `blackjax.window_adaptation`.

    Args:
        task: what is to be warmed up.
        algorithm: the name of one of BlackJAX's, ``"hmc"`` or ``"nuts"``.
        target_acceptance_rate: as BlackJAX has it.
        tuned_for: leapfrog steps of a trajectory, where helpers are to find a step size for so many
            rather than for trajectories of about a quarter period.
        parameters: of BlackJAX's algorithm.

    Warns:
        AdaptationWarning: where the helpers do not settle.
    """
    key_start, key_chains = jax.random.split(task.rng_key)
    num_steps, num_chains = task.num_steps, task.num_chains
    cost = f"{num_steps} steps"
    if num_steps < fewest_steps(tuned_for):
        positions, metric, step_size = scatter(key_start, task.position, num_chains), None, 1.0
    else:
        found = adapt_helpers(
            key_start, task.logdensity_fn, task.position, num_steps, task.is_mass_matrix_diagonal,
            target_acceptance_rate, max(NUM_HELPERS, num_chains), RADIUS, tuned_for,
        )  # fmt: skip
        step_size, metric = float(found.step_size), found.inverse_mass_matrix
        positions = jax.tree.map(lambda leaf: leaf[:num_chains], found.info.positions)
        gradients = f"{found.info.num_gradients} gradients of helpers"
        if found.info.settled:
            return Adapted(positions, step_size, metric, gradients)
        cost = f"{gradients} and {cost}"
        warn_unsettled(found.info, GOES_ON.format("--warmup"), stacklevel=3)
    last, found = _adapt(
        algorithm, task.logdensity_fn, num_steps, task.is_mass_matrix_diagonal,
        target_acceptance_rate, tuple(parameters.items()),
        jax.random.split(key_chains, num_chains), positions, step_size, metric,
    )  # fmt: skip
    return Adapted(
        last,
        float(jnp.median(found["step_size"])),
        jnp.mean(found["inverse_mass_matrix"], axis=0),
        cost,
    )


@compiled(num_static=6)
def _adapt(
    algorithm, logdensity_fn, num_steps, is_mass_matrix_diagonal, target_acceptance_rate,
    parameters, keys, positions, step_size, metric,
):  # fmt: skip
    import blackjax

    adaptation = blackjax.window_adaptation(
        getattr(blackjax, algorithm),
        logdensity_fn,
        is_mass_matrix_diagonal=is_mass_matrix_diagonal,
        target_acceptance_rate=target_acceptance_rate,
        initial_step_size=step_size,
        initial_inverse_mass_matrix=metric,
        adaptation_info_fn=lambda *_: None,
        **dict(parameters),
    )

    def run(key, position):
        results, _ = adaptation.run(key, position, num_steps)
        return results.state.position, results.parameters

    return jax.vmap(run)(keys, positions)


def tuned_hmc(task: Task) -> Tuned:
    """`hmc` with trajectories of one length, in leapfrog steps of at most the adapted size."""
    found = adapt(task, "hmc", 0.9, num_integration_steps=8)
    num_steps = math.ceil(task.trajectory_length / found.step_size)
    step_size = task.trajectory_length / num_steps
    kernel = hmc(task.logdensity_fn, step_size, found.inverse_mass_matrix, num_steps)
    settings = f"{num_steps} leapfrog steps of {step_size:.3g}"
    return Tuned(kernel, found.position, settings, found.cost)


def tuned_mala(task: Task) -> Tuned:
    """`mala`, adapted to an acceptance rate of 0.8.

    For a chain that runs step by step 0.57 is best. Solved in parallel, its larger steps take
    several times as many iterations, and forgetting faster does not make up for that.

    HMC with a single leapfrog step h is MALA with eps = h^2 / 2, and HMC is what is adapted.
    """
    found = adapt(task, "hmc", 0.8, tuned_for=1, num_integration_steps=1)
    step_size = found.step_size**2 / 2
    kernel = mala(task.logdensity_fn, step_size, found.inverse_mass_matrix)
    return Tuned(kernel, found.position, f"step size {step_size:.3g}", found.cost)


def tuned_random_walk(task: Task) -> Tuned:
    """`random_walk` with steps of 2.38 / sqrt(D) standard deviations, which HMC finds.

    Of a dense metric the diagonal is used.
    """
    found = adapt(task, "hmc", 0.8, num_integration_steps=8)
    metric = found.inverse_mass_matrix
    variances = metric if metric.ndim == 1 else jnp.diagonal(metric)
    relative = 2.38 / math.sqrt(variances.size)
    kernel = random_walk(task.logdensity_fn, relative * jnp.sqrt(variances))
    return Tuned(kernel, found.position, f"steps of {relative:.3g} standard deviations", found.cost)


def tuned_nuts(task: Task) -> Tuned:
    """`blackjax.nuts` with the step size and the metric of `adapt`."""
    import blackjax

    found = adapt(task, "nuts", 0.8)
    kernel = blackjax.nuts(task.logdensity_fn, found.step_size, found.inverse_mass_matrix)
    return Tuned(kernel, found.position, f"step size {found.step_size:.3g}", found.cost)
