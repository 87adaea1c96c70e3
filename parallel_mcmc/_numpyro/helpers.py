"""The warm-up of a NumPyro kernel by helpers, in one program, and what it leaves in the state.

`init` runs it once for each chain, so that every chain has helpers and a start of its own. If they
settle, NumPyro's warm-up has nothing left to do and takes no steps. If they do not, NumPyro's own
adaptation takes all its steps, from where the helpers got to.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer import init_to_uniform

from parallel_mcmc._core.auto import any_traced
from parallel_mcmc._core.lyapunov import Growth
from parallel_mcmc._mcmc.adaptation import RADIUS, AdaptationWarning, why_unsettled
from parallel_mcmc._mcmc.division import measure, unmeasured
from parallel_mcmc._mcmc.helpers import scatter
from parallel_mcmc._mcmc.hmc import steps_of
from parallel_mcmc._mcmc.pooling import estimate_of
from parallel_mcmc._mcmc.rounds import adapt_and_tune
from parallel_mcmc._numpyro.metric import blocks_of


class Warmup(NamedTuple):
    """How a chain was warmed up.

    Attributes:
        settled: whether helpers did it, and nothing was left for steps to adapt.
        num_gradients: that followed one another so far, those of the helpers and of the steps.
        num_rounds: of the helpers; 0 without.
        from_mode: whether they started around the mode, because a normal there is nearly the
            posterior.
        rhat, gap, worst: over the helpers after the last round, as in `pool.Summary`; 0
            without.
        division: in how many parts trajectories are to be divided, as `division.measure` found; 0
            where it was not asked.
        rise: largest growth of a perturbation to expect for each of `division.DIVISIONS`, in nats;
            0 where it was not asked.
        growth: of perturbations in a step after the warm-up; NaN where it was not measured.
    """

    settled: Bool[Array, ""]
    num_gradients: Int[Array, ""]
    num_rounds: Int[Array, ""]
    from_mode: Bool[Array, ""]
    rhat: Float[Array, ""]
    gap: Float[Array, ""]
    worst: Int[Array, ""]
    division: Int[Array, ""]
    rise: Float[Array, " N"]
    growth: Growth


class Helped(NamedTuple):
    """What the helpers of a chain found: its start, its step size and its metric, in vectors."""

    z: Any
    step_size: Float[Array, ""]
    inverse_mass_matrix: Array
    warmup: Warmup


class HelpersPlan(NamedTuple):
    """What helpers are to adapt for.

    Attributes:
        num_helpers: of each chain.
        num_integration_steps: of a trajectory, where the kernel's are not by length.
        target_acceptance_rate: that the step size is adapted for.
        dense_mass: as NumPyro has it, True, False, or a list of tuples of sites; None for what
            their number of unknowns suggests.
        at_zero: whether they start around zero rather than around the start of the chain.
        radius: of their starts, in unconstrained values.
        trajectory: the length of trajectories and their most leapfrog steps, where they are by
            length.
        measures: whether the growth of perturbations is measured, as where a solver is chosen.
        num_draws: of the chain, where trajectories may be divided.
        step_size_jitter: of the chain, as in `pm.hmc`.
    """

    num_helpers: int
    num_integration_steps: int | None
    target_acceptance_rate: float
    dense_mass: bool | list | None
    at_zero: bool
    radius: float
    trajectory: tuple[float, int] | None
    measures: bool
    num_draws: int | None
    step_size_jitter: float


def without_helpers(dtype: Any) -> Warmup:
    none = jnp.zeros((), jnp.int32)
    zero = jnp.zeros((), dtype)
    number, rise, growth, _ = unmeasured(dtype)
    no = jnp.zeros((), bool)
    return Warmup(no, none, none, no, zero, zero, none, number, rise, growth)


def settle(
    potential_fn: Callable,
    z: Any,
    rng_key: Any,
    num_warmup: Any,
    plan: HelpersPlan,
) -> Helped:
    """Helpers around the start of a chain; traceable.

    The first begins at the start itself, which NumPyro has found to be valid.
    """
    x, unravel = ravel_pytree(z)

    def logdensity_fn(x):
        return -potential_fn(unravel(x))

    key_start, key_rounds, key_tune = jax.random.split(rng_key, 3)
    measured = unmeasured(x.dtype)
    center = jnp.zeros_like(x) if plan.at_zero else x
    starts = scatter(key_start, center, plan.num_helpers, plan.radius).at[0].set(x)
    is_diagonal = None if plan.dense_mass is None else not plan.dense_mass
    estimate, blocks = estimate_of(x.size, is_diagonal), None
    if plan.dense_mass and isinstance(plan.dense_mass, list):
        blocks = jnp.asarray(blocks_of(plan.dense_mass, z))
    with jax.default_matmul_precision("highest"):  # as in a solve
        pool = adapt_and_tune(
            logdensity_fn, (key_rounds, key_tune), starts, num_warmup, estimate,
            plan.target_acceptance_rate, plan.num_integration_steps, blocks,
        )  # fmt: skip
        if plan.measures or plan.num_draws:
            step_size = jnp.exp(pool.log_step_size)

            def steps_of_part(number):
                if plan.trajectory is None:
                    return jnp.asarray(plan.num_integration_steps), step_size
                length, most = plan.trajectory
                return steps_of(length / number, step_size, most)

            measured = measure(
                logdensity_fn, jax.random.fold_in(key_tune, 1), pool.x, steps_of_part,
                pool.inverse_mass_matrix, pool.settled, plan.num_draws,
                step_size_jitter=plan.step_size_jitter,
            )  # fmt: skip
    last = jax.tree.map(lambda leaf: leaf[jnp.maximum(pool.num_rounds - 1, 0)], pool.summaries)
    return Helped(
        z=unravel(pool.x[0]),
        step_size=jnp.exp(pool.log_step_size),
        inverse_mass_matrix=pool.inverse_mass_matrix,
        warmup=Warmup(
            settled=pool.settled,
            num_gradients=pool.num_gradients + measured.num_gradients,
            num_rounds=pool.num_rounds,
            from_mode=pool.from_mode,
            rhat=last.rhat,
            gap=last.gap,
            worst=last.worst,
            division=measured.number,
            rise=measured.rise,
            growth=measured.growth,
        ),
    )


def radius_around_zero(init_strategy: Callable) -> float | None:
    """The radius of starts that are drawn around zero, whatever the model; None for others."""
    radius = RADIUS
    while isinstance(init_strategy, functools.partial):
        radius = init_strategy.keywords.get("radius", radius)
        init_strategy = init_strategy.func
    return float(radius) if init_strategy is init_to_uniform else None


def has_settled(warmup: Warmup) -> bool:
    """Whether helpers have left nothing to adapt, as far as is known before the chain runs."""
    return not any_traced(warmup) and bool(np.all(jax.device_get(warmup.settled)))


def warn_of_helpers(warmup: Warmup, z: Any) -> None:
    """Warn that the helpers of some chains have not settled; from inside `jit` if necessary.

    ``z`` is a start of one chain, for the names of its sites.
    """
    shapes = jax.eval_shape(lambda: z)

    def warn(warmup: Warmup) -> None:
        if not np.all(warmup.settled):
            unsettled = ~np.atleast_1d(warmup.settled)
            which = f"of {unsettled.sum()} of {unsettled.size} chains " * (unsettled.size > 1)
            found = warmup.num_gradients, warmup.rhat, warmup.gap, warmup.worst
            gradients, rhat, gap, worst = (np.atleast_1d(a)[unsettled] for a in found)
            why = why_unsettled(gradients, rhat, gap, worst, shapes)
            warnings.warn(
                f"{which}{why}, so that NumPyro's warm-up goes on from there, one step after the "
                "other; give more `num_warmup`, reparameterise, or pass `num_helpers=0` to have "
                "NumPyro's warm-up alone.",
                AdaptationWarning,
                stacklevel=2,
            )

    if any_traced(warmup):
        jax.debug.callback(warn, warmup)
    else:
        warn(jax.device_get(warmup))
