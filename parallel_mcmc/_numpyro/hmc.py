"""Hamiltonian Monte Carlo for `numpyro.infer.MCMC`, with defaults for chains solved in parallel."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._core.auto import Auto, any_traced
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.adaptation import NUM_HELPERS, AdaptationWarning
from parallel_mcmc._mcmc.hmc import checked_jitter, hmc, steps_of
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._numpyro.adaptive import AdaptiveKernel
from parallel_mcmc._numpyro.start import DEFAULT_INIT
from parallel_mcmc._numpyro.state import ParallelState

STEP_SIZE_JITTER = 0.3
"""Of `ParallelHMC`, by default."""


class ParallelHMC(AdaptiveKernel):
    """Hamiltonian Monte Carlo, all draws at once: takes the place of `numpyro.infer.HMC`.

    Args:
        model: a NumPyro model, or
        potential_fn: minus a log density of any pytree; then `MCMC.run` needs ``init_params``.
        step_size: of the leapfrog integrator, at the beginning of a warm-up without helpers.
        inverse_mass_matrix: at the beginning of the warm-up, as in NumPyro: an array, or a dict of
            arrays by tuples of sites.
        adapt_step_size, adapt_mass_matrix: whether the warm-up does.
        dense_mass: True, False or a list of tuples of sites, as in NumPyro. By default dense up to
            64 unknowns. Above that, helpers find a metric of low rank plus a multiple of the
            variances, for up to 512 unknowns, and NumPyro's warm-up finds variances only. If the
            metric misses correlations, the chain forgets slowly, and takes many iterations to
            solve.
        target_accept_prob: 0.9, more than NumPyro's 0.8: the iterations have to discover each
            rejection, and smaller leapfrog steps cost less than more iterations.
        trajectory_length: pi / 2 by default, a quarter period of the whitened posterior: there
            draws of a normal posterior are nearly independent, and a solve takes twenty to seventy
            iterations whatever the number of draws. NumPyro's default, 2 pi, is a whole period. For
            a posterior that is too curved for this, see ``thinning`` of `pm.MCMC`.
        max_num_steps: limit on the leapfrog steps of a trajectory, as NUTS has one. It binds at the
            beginning of a warm-up, when the metric does not fit the posterior yet and steps may
            have to be tiny; such a trajectory is shorter than ``trajectory_length``. If it still
            binds after the warm-up, an `AdaptationWarning` says so.
        num_steps: leapfrog steps of a trajectory. With ``trajectory_length=None`` the step size is
            adapted for this number. If both are given, the step size is their quotient, but for the
            jitter, and is not adapted.
        step_size_jitter: each draw multiplies the step size by a number that is uniform within this
            of 1, as Stan's ``stepsize_jitter`` does: 0.3 by default, less than 1, 0 for none.
            Without it a direction that is half as wide as the metric says is hardly forgotten: a
            quarter period of the metric is half a period there. With 89 unknowns and a metric of
            low rank the slowest of four chains took seven times as many iterations.
        init_strategy: as in NumPyro.
        find_heuristic_step_size: whether each window of the warm-up begins with a step size that
            NumPyro's heuristic finds, as in NumPyro. Vectorized chains run the heuristic at each
            step of the warm-up.
        forward_mode_differentiation: whether to differentiate forwards, as models with a
            `jax.lax.while_loop` need. A gradient then costs D products.
        regularize_mass_matrix: whether to add up to 1e-3 to the variances found, as NumPyro does.
            By default only in windows of fewer than 100 draws, or 10 per unknown: a posterior that
            is narrower than that in some direction, as in a regression on an uncentred
            covariate, would not be whitened.
        num_helpers: chains that do the warm-up of each chain together, in a few hundred gradients
            in turn where NumPyro's takes thousands. ``num_warmup`` limits the steps of each
            helper; the choice of a solver takes twenty more. If the helpers do not settle, an
            `AdaptationWarning` says so, and NumPyro's warm-up of ``num_warmup`` steps continues
            from there. Helpers start around zero as `init_to_uniform` does, or within 2
            of ``init_params`` or of what another strategy finds. 0 means NumPyro's warm-up alone.
            That is also used with fewer than 200 warm-up steps, with an ``inverse_mass_matrix``,
            with ``find_heuristic_step_size`` or ``regularize_mass_matrix``, or if the step size or
            the metric is not adapted.
        solver: as in `pm.solve`, `pm.auto()` by default.
        window: draws to solve for at once. By default `pm.MCMC` solves the whole
            chain, in windows if memory asks for it, and `numpyro.infer.MCMC` 1,000 draws.
        diagnose: whether the state has a `pm.Predictability` of the window that the draw is from,
            for ``extra_fields=("predictability.exponent",)`` and `pm.to_inference_data`. Costs D
            products with the Jacobian per draw.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given, or neither
            ``trajectory_length`` nor ``num_steps``, or one of these is not positive, or the jitter
            is out of its range, or there are helpers, but fewer than 8.
        TypeError: for an option that does not exist, such as ``max_tree_depth`` of `NUTS`.

    Costs a gradient per leapfrog step, of all draws at once, in each iteration.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> kernel = pm.ParallelHMC(model, solver=pm.jacobi())
    >>> mcmc = numpyro.infer.MCMC(kernel, num_warmup=200, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), extra_fields=("solve.status",))
    >>> mcmc.get_samples()["x"].shape, int(mcmc.get_extra_fields()["solve.status"].max())
    ((500, 2), 0)
    """

    default_accept_prob = 0.9
    fields_of_steps = ("energy", "num_steps", "adapt_state.step_size")

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
        num_steps: int | None = None,
        trajectory_length: float | None = math.pi / 2,
        max_num_steps: int = 256,
        find_heuristic_step_size: bool = False,
        init_strategy: Callable = DEFAULT_INIT,
        regularize_mass_matrix: bool | None = None,
        num_helpers: int = NUM_HELPERS,
        solver: Solver | Auto | None = None,
        window: int | None = None,
        diagnose: bool = False,
        forward_mode_differentiation: bool = False,
        step_size_jitter: float = STEP_SIZE_JITTER,
        **others: Any,
    ):
        if num_steps is None and trajectory_length is None:
            raise ValueError("Give `trajectory_length`, `num_steps`, or both.")
        if (num_steps is not None and num_steps < 1) or max_num_steps < 1:
            raise ValueError(
                "A trajectory has at least one step: raise num_steps or max_num_steps."
            )
        if trajectory_length is not None and not trajectory_length > 0:
            raise ValueError(f"trajectory_length must be positive, got {trajectory_length}.")
        if adapt_step_size and num_steps is not None and trajectory_length is not None:
            warnings.warn(
                "With both `num_steps` and `trajectory_length` the step size is their quotient and "
                "cannot be adapted; pass `trajectory_length=None` to adapt it.",
                stacklevel=2,
            )
        if num_steps is not None and trajectory_length is not None:
            step_size, adapt_step_size = trajectory_length / num_steps, False
        super().__init__(
            model, potential_fn, step_size, inverse_mass_matrix, adapt_step_size,
            adapt_mass_matrix, dense_mass, target_accept_prob, init_strategy,
            regularize_mass_matrix, num_helpers, solver, window, diagnose,
            forward_mode_differentiation, **others,
        )  # fmt: skip
        self._num_steps = num_steps
        self._trajectory_length = trajectory_length
        self._max_num_steps = max_num_steps
        self.step_size_jitter = checked_jitter(step_size_jitter)
        self.finds_step_size = find_heuristic_step_size

    @property
    def trajectory_to_divide(self) -> tuple[float, int] | None:  # type: ignore[override]
        if self._num_steps is not None or self._trajectory_length is None:
            return None
        return self._trajectory_length, self._max_num_steps

    def divided(self, number: int) -> "ParallelHMC":
        if number == 1 or self._trajectory_length is None:
            return self
        kernel = object.__new__(type(self))  # `copy` would leave out what `init` has derived
        length = self._trajectory_length / number
        kernel.__dict__.update(self.__dict__, _trajectory_length=length)
        return kernel

    def warn_of_adapted(self, state: ParallelState) -> None:
        if self.trajectory_to_divide is None or any_traced(state.adapt_state.step_size):
            return
        length, most = self.trajectory_to_divide
        step_size = np.atleast_1d(jax.device_get(state.adapt_state.step_size))
        cut = length > most * step_size
        if np.any(cut):
            which = f"of {cut.sum()} of {cut.size} chains " if cut.size > 1 else ""
            warnings.warn(
                f"{which}trajectories are cut short by `max_num_steps`, {most}: with a step size "
                f"of {step_size.min():.2g} they take {int(np.ceil(length / step_size.min())):,} "
                f"for their length of {length:.3g}, and forget less; reparameterise, or give more "
                "`max_num_steps`.",
                AdaptationWarning,
                stacklevel=3,
            )

    def num_steps_to_tune(self) -> int | None:
        return self._num_steps if self._trajectory_length is None else None

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        num_steps: Any = self._num_steps
        if num_steps is None:
            num_steps, step_size = steps_of(self._trajectory_length, step_size, self._max_num_steps)
        kernel = hmc(
            logdensity_fn, step_size, num_integration_steps=num_steps,
            step_size_jitter=self.step_size_jitter,
        ).at(w)  # fmt: skip

        def step(state, inputs):
            energy = -state.logdensity + jnp.sum(inputs.momentum**2) / 2
            state, info = kernel.step(state, inputs)
            # Of the state that is kept, as in NumPyro; BlackJAX's is that of the proposal.
            return state, info._replace(energy=jnp.where(info.is_accepted, info.energy, energy))

        return kernel._replace(step=step)
