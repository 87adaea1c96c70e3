"""What kernels that NumPyro's warm-up tunes have in common: a step size and a metric.

The warm-up is done by helpers, or takes one step after the other and adapts step size and metric
with NumPyro's own `warmup_adapter`. The draws are then solved in parallel, in the coordinates that
this metric whitens. There an HMC chain forgets its state within a step or two, and so the solve is
short.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.hmc import momentum_generator
from numpyro.infer.hmc_util import (
    IntegratorState,
    build_adaptation_schedule,
    euclidean_kinetic_energy,
    find_reasonable_step_size,
    warmup_adapter,
)

from parallel_mcmc._core.auto import Auto, compares
from parallel_mcmc._core.rows import either
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.adaptation import NUM_HELPERS, RADIUS, check_helpers, fewest_steps
from parallel_mcmc._mcmc.pooling import MAX_DENSE
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._numpyro.chain import Chain, draw_one
from parallel_mcmc._numpyro.helpers import Helped, HelpersPlan, radius_around_zero
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.metric import (
    DEPENDS_ON_METRIC,
    by_blocks,
    unwhiten,
    updated_beneath,
    whiten,
    with_whole,
)
from parallel_mcmc._numpyro.options import refuse
from parallel_mcmc._numpyro.start import DEFAULT_INIT
from parallel_mcmc._numpyro.state import ParallelState

DRAWS_PER_UNKNOWN, MIN_DRAWS = 10, 100
"""Draws of a window of the warm-up that say enough about a covariance to take it as it is."""


class AdaptiveKernel(ParallelKernel):
    """A kernel with a step size and a metric."""

    default_accept_prob = 0.8
    """What the step size is adapted for if ``target_accept_prob`` is None."""

    fields_of_steps: tuple[str, ...] = ("adapt_state.step_size",)

    finds_step_size = False
    """Whether each window of the warm-up begins with a search for a step size."""

    step_size_jitter = 0.0
    """As in `pm.hmc`; 0 for kernels without trajectories."""

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list | None = None,
        target_accept_prob: float | None = None,
        init_strategy: Callable = DEFAULT_INIT,
        regularize_mass_matrix: bool | None = None,
        num_helpers: int = NUM_HELPERS,
        solver: Solver | Auto | None = None,
        window: int | None = None,
        diagnose: bool = False,
        forward_mode_differentiation: bool = False,
        **others: Any,
    ):
        refuse(type(self), AdaptiveKernel, others)
        super().__init__(
            model, potential_fn, init_strategy, solver, window, diagnose,
            forward_mode_differentiation,
        )  # fmt: skip
        self._step_size = step_size
        self._inverse_mass_matrix = inverse_mass_matrix
        self._adapt_step_size = adapt_step_size
        self._adapt_mass_matrix = adapt_mass_matrix
        self._dense_mass = dense_mass
        self._target_accept_prob = (
            self.default_accept_prob if target_accept_prob is None else target_accept_prob
        )
        self._regularize_mass_matrix = regularize_mass_matrix
        if num_helpers:
            check_helpers(num_helpers, ", or 0 for none")
        self._num_helpers = num_helpers

    def num_steps_to_tune(self) -> int | None:
        """Leapfrog steps of a trajectory, if their number is fixed and not its length."""
        return None

    def step_size_of(self, leapfrog_step: Any) -> Any:
        """The step size of this kernel, from that of leapfrog steps that are accepted as often."""
        return leapfrog_step

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        """The kernel on vectors ``w`` in whitened coordinates."""
        raise NotImplementedError

    def chain(self, potential_fn: Callable, z: Any, adapt_state: Any, model_args: tuple) -> Chain:
        def z_of(w):
            return unwhiten(w, z, adapt_state)

        def logdensity_fn(w):
            return -potential_fn(z_of(w))

        w = whiten(z, adapt_state)
        transition = self.transition(logdensity_fn, w, adapt_state.step_size)
        return Chain(
            transition,
            lambda z: whiten(z, adapt_state),
            z_of,
            potential_fn,
            draw_one(transition),
        )

    def num_adaptive_steps(self, num_warmup: int) -> int:
        return num_warmup

    def adapter(
        self,
        num_warmup: int,
        z: Any,
        regularize: bool,
        potential_fn: Callable,
        dense_mass: bool | list | None = None,
    ) -> tuple[Callable, Callable]:
        """NumPyro's adapter, made anew wherever it is needed: it is two functions and no state."""
        find = None
        if self.finds_step_size:
            find = functools.partial(
                find_reasonable_step_size, potential_fn, euclidean_kinetic_energy,
                momentum_generator,
            )  # fmt: skip
        return warmup_adapter(
            num_warmup,
            find_reasonable_step_size=find,
            adapt_step_size=self._adapt_step_size,
            adapt_mass_matrix=self._adapt_mass_matrix,
            dense_mass=self.dense_mass(z) if dense_mass is None else dense_mass,
            target_accept_prob=self._target_accept_prob,
            regularize_mass_matrix=regularize,
        )

    def dense_mass(self, z: Any) -> bool | list:
        """In NumPyro's form: for a model, a list of tuples of sites."""
        dense_mass = self._dense_mass
        if dense_mass is None:
            dense_mass = size_of(z) <= MAX_DENSE
        return self.by_sites(dense_mass, z)

    def by_sites(self, dense_mass: bool | list, z: Any) -> bool | list:
        if self._model is not None and isinstance(dense_mass, bool):
            dense_mass = [tuple(sorted(z))] if dense_mass else []
        return dense_mass

    def plan_of_helpers(
        self, z: Any, num_warmup: int, is_given: bool, num_draws: int | None = None
    ) -> HelpersPlan | None:
        """None if the step size or the metric is not to be adapted, or there are too few steps."""
        adapts = self._adapt_step_size and self._adapt_mass_matrix
        from_scratch = self._inverse_mass_matrix is None and not self.finds_step_size
        as_it_is = not self._regularize_mass_matrix
        wanted = self._num_helpers and self.needs_gradient
        if not (adapts and from_scratch and as_it_is and wanted):
            return None
        radius = None if is_given else radius_around_zero(self._init_strategy)
        trajectory = self.trajectory_to_divide
        plan = HelpersPlan(
            num_helpers=self._num_helpers,
            num_integration_steps=self.num_steps_to_tune(),
            target_acceptance_rate=self._target_accept_prob,
            dense_mass=None if self._dense_mass is None else self.dense_mass(z),
            at_zero=radius is not None,
            radius=RADIUS if radius is None else radius,
            trajectory=trajectory,
            measures=compares(self.solver),
            num_draws=num_draws if trajectory else None,
            step_size_jitter=self.step_size_jitter,
        )
        return plan if num_warmup >= fewest_steps(plan.num_integration_steps) else None

    def adapt_init(
        self, z: Any, rng_key: Any, num_warmup: int, potential_fn: Callable, helped: Helped | None
    ) -> Any:
        def begun(step_size, matrix, dense_mass):
            init, _ = self.adapter(num_warmup, z, True, potential_fn, dense_mass)
            return init(
                IntegratorState(z=z, r=None, potential_energy=None, z_grad=None),
                rng_key,
                jnp.asarray(step_size, float),
                # NumPyro writes into a dict that it is given.
                inverse_mass_matrix=dict(matrix) if isinstance(matrix, dict) else matrix,
            )

        dense_mass = self.dense_mass(z)
        if helped is None:
            return begun(self._step_size, self._inverse_mass_matrix, dense_mass)
        step_size = self.step_size_of(helped.step_size)
        found = jnp.asarray(helped.inverse_mass_matrix, float)
        state = begun(step_size, by_blocks(found, dense_mass, z), dense_mass)
        if found.ndim == 1 or dense_mass:
            return state
        whole = self.by_sites(True, z)
        return with_whole(state, begun(step_size, by_blocks(found, whole, z), whole))

    def adapt_update(self, state: ParallelState, potential_fn: Callable) -> Any:
        regularize = self._regularize_mass_matrix
        at = IntegratorState(state.z, None, state.potential_energy, state.z_grad)
        # `advanced` has counted the step already.
        step = state.i - 1, state.accept_prob, at
        matrices = jax.tree.leaves(state.adapt_state.inverse_mass_matrix)
        is_whole = not self.dense_mass(state.z) and matrices[0].ndim == 2

        def updated(regularize):
            num_warmup = state.plan.num_warmup
            update = self.adapter(num_warmup, state.z, regularize, potential_fn)[1]
            if is_whole:
                return updated_beneath(functools.partial(update, *step), state.adapt_state)
            return update(*step, state.adapt_state)

        if regularize is not None:
            return updated(regularize)
        enough = max(MIN_DRAWS, DRAWS_PER_UNKNOWN * size_of(state.z))
        schedule = build_adaptation_schedule(state.plan.num_warmup)
        is_long = jnp.array([window.end + 1 - window.start >= enough for window in schedule])
        plain, safe = updated(False), updated(True)
        # Where a chain has not moved, its draws have no covariance to be taken as it is.
        usable = jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(plain[:4])]).all()
        chosen = is_long[state.adapt_state.window_idx] & usable
        plain, from_safe = (
            {name: getattr(state, name) for name in DEPENDS_ON_METRIC} for state in (plain, safe)
        )
        return safe._replace(**either(chosen, plain, from_safe))


def size_of(z: Any) -> int:
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(z))
