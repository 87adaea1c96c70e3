"""Kernels that NumPyro's warm-up tunes: HMC, MALA and random-walk Metropolis.

The warm-up takes one step after the other and adapts step size and metric with NumPyro's own
`warmup_adapter`. What follows is solved in parallel, in the coordinates that this metric
whitens: there a chain of HMC forgets its state within a step or two, which is
what makes the solve short.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.hmc_util import (
    IntegratorState,
    build_adaptation_schedule,
    warmup_adapter,
)

from parallel_mcmc.auto import Auto
from parallel_mcmc.interop.numpyro import DEFAULT_INIT, ParallelKernel
from parallel_mcmc.interop.numpyro_metric import unwhiten, whiten
from parallel_mcmc.interop.numpyro_window import Chain, ParallelState, draw_one
from parallel_mcmc.kernels.hmc import hmc
from parallel_mcmc.kernels.mala import mala
from parallel_mcmc.kernels.random_walk import random_walk
from parallel_mcmc.solvers import Solver
from parallel_mcmc.transition import Transition

MAX_DENSE = 64
"""Unknowns up to which the metric is dense by default, as up to which `auto` tries DEER."""

DRAWS_PER_UNKNOWN, MIN_DRAWS = 10, 100
"""Draws of a window of the warm-up that say enough about a covariance to take it as it is."""


class AdaptiveKernel(ParallelKernel):
    """A kernel with a step size and a metric."""

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list | None = None,
        target_accept_prob: float = 0.8,
        init_strategy: Callable = DEFAULT_INIT,
        regularize_mass_matrix: bool | None = None,
        solver: Solver | Auto | None = None,
        window: int | None = None,
        tol: float | None = None,
        max_iterations: int = 200,
    ):
        if (model is None) == (potential_fn is None):
            raise ValueError("Give either `model` or `potential_fn`.")
        super().__init__(model, potential_fn, init_strategy, solver, window, tol, max_iterations)
        self._step_size = step_size
        self._inverse_mass_matrix = inverse_mass_matrix
        self._adapt_step_size = adapt_step_size
        self._adapt_mass_matrix = adapt_mass_matrix
        self._dense_mass = dense_mass
        self._target_accept_prob = target_accept_prob
        self._regularize_mass_matrix = regularize_mass_matrix

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

    def adapter(self, num_warmup: int, z: Any, regularize: bool) -> tuple[Callable, Callable]:
        """NumPyro's, made anew wherever it is needed: it is two functions and no state."""
        dense_mass = self._dense_mass
        if dense_mass is None:
            dense_mass = size_of(z) <= MAX_DENSE
        if self._model is not None and isinstance(dense_mass, bool):
            dense_mass = [tuple(sorted(z))] if dense_mass else []
        return warmup_adapter(
            num_warmup,
            adapt_step_size=self._adapt_step_size,
            adapt_mass_matrix=self._adapt_mass_matrix,
            dense_mass=dense_mass,
            target_accept_prob=self._target_accept_prob,
            regularize_mass_matrix=regularize,
        )

    def adapt_init(self, z: Any, rng_key: Any, num_warmup: int) -> Any:
        init, _ = self.adapter(num_warmup, z, True)
        matrix = self._inverse_mass_matrix
        return init(
            IntegratorState(z=z, r=None, potential_energy=None, z_grad=None),
            rng_key,
            jnp.asarray(self._step_size, float),
            # NumPyro writes into a dict that it is given.
            inverse_mass_matrix=dict(matrix) if isinstance(matrix, dict) else matrix,
        )

    def adapt_update(self, state: ParallelState) -> Any:
        regularize = self._regularize_mass_matrix
        # `advanced` has counted the step already.
        step = state.i - 1, state.accept_prob, (state.z,), state.adapt_state

        def updated(regularize):
            return self.adapter(state.plan.num_warmup, state.z, regularize)[1](*step)

        if regularize is not None:
            return updated(regularize)
        enough = max(MIN_DRAWS, DRAWS_PER_UNKNOWN * size_of(state.z))
        schedule = build_adaptation_schedule(state.plan.num_warmup)
        is_long = jnp.array([window.end + 1 - window.start >= enough for window in schedule])
        plain, safe = updated(False), updated(True)
        # Where a chain has not moved, its draws have no covariance to be taken as it is.
        usable = jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(plain[:4])]).all()
        chosen = is_long[state.adapt_state.window_idx] & usable
        return safe._replace(
            **{
                name: jax.tree.map(
                    lambda plain, safe: jnp.where(chosen, plain, safe),
                    getattr(plain, name),
                    getattr(safe, name),
                )
                for name in ("inverse_mass_matrix", "mass_matrix_sqrt", "mass_matrix_sqrt_inv")
            }
        )


def size_of(z: Any) -> int:
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(z))


class ParallelHMC(AdaptiveKernel):
    """Hamiltonian Monte Carlo, all draws at once: takes the place of `numpyro.infer.HMC`.

    Args:
        model: a NumPyro model, or
        potential_fn: minus a log density of any pytree; then `MCMC.run` needs ``init_params``.
        step_size: of the leapfrog integrator, at the beginning of the warm-up.
        inverse_mass_matrix: at the beginning of the warm-up, as in NumPyro: an array, or a dict of
            arrays by tuples of sites.
        adapt_step_size, adapt_mass_matrix: whether the warm-up does.
        dense_mass: True, False or a list of tuples of sites, as in NumPyro. By default dense up to
            64 unknowns and diagonal above: correlations that the metric does not know make the
            chain remember, and a chain that remembers takes many iterations to solve.
        target_accept_prob: 0.9, more than NumPyro's 0.8: rejections are what the next
            iterate has to guess, and smaller leapfrog steps cost less than more iterations.
        trajectory_length: pi / 2 by default, a quarter period of the whitened posterior: there
            draws of a normal posterior are independent, and a solve takes about ten iterations
            whatever the number of draws. NumPyro's default, 2 pi, is a whole period.
        max_num_steps: of a trajectory, as NUTS has a limit. It binds at the beginning of a warm-up,
            where the metric is not that of the posterior yet and steps may have to be tiny; such a
            trajectory is shorter than ``trajectory_length``.
        num_steps: leapfrog steps of a trajectory. With ``trajectory_length=None`` the step size is
            adapted for as many; with both the step size is their quotient, and not adapted.
        init_strategy: as in NumPyro.
        regularize_mass_matrix: whether to add up to 1e-3 to the variances found, as NumPyro does.
            By default only in windows of fewer than 100 draws, or 10 per unknown: a posterior that
            is narrower than that in some direction, as in a regression on an uncentred
            covariate, would not be whitened.
        solver: `pm.auto()` by default.
        window: draws to solve for at once. By default `pm.MCMC` solves the whole
            chain, in windows if memory asks for it, and `numpyro.infer.MCMC` 1,000 draws.
        tol, max_iterations: as in `pm.solve`.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given, or neither
            ``trajectory_length`` nor ``num_steps``.

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

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list | None = None,
        target_accept_prob: float = 0.9,
        num_steps: int | None = None,
        trajectory_length: float | None = math.pi / 2,
        max_num_steps: int = 256,
        **options: Any,
    ):
        if num_steps is None and trajectory_length is None:
            raise ValueError("Give `trajectory_length`, `num_steps`, or both.")
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
            adapt_mass_matrix, dense_mass, target_accept_prob, **options,
        )  # fmt: skip
        self._num_steps = num_steps
        self._trajectory_length = trajectory_length
        self._max_num_steps = max_num_steps

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        num_steps: Any = self._num_steps
        if num_steps is None:
            length = self._trajectory_length
            wanted = jnp.ceil(length / step_size)
            num_steps = jnp.clip(wanted, 1, self._max_num_steps).astype(jnp.int32)
            step_size = jnp.minimum(step_size, length / num_steps)
        return hmc(logdensity_fn, w, step_size, num_integration_steps=num_steps)


class ParallelMALA(AdaptiveKernel):
    """The Metropolis-adjusted Langevin algorithm, all draws at once.

    Args:
        step_size: eps of w' = w + eps g + sqrt(2 eps) n in whitened coordinates, as in
            `pm.mala`, at the beginning of the warm-up.
        target_accept_prob: 0.8. Step by step 0.57 is best; solved in parallel its larger steps
            take several times the iterations, which their shorter memory does not make up for.
        model, potential_fn, inverse_mass_matrix, adapt_step_size, adapt_mass_matrix, dense_mass,
            init_strategy, solver, window, tol, max_iterations: as in `ParallelHMC`.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given.

    Costs one gradient per draw and iteration, two where the solver needs derivatives. Its draws are
    correlated: prefer `ParallelHMC` unless gradients are what memory is short of.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> kernel = pm.ParallelMALA(model, solver=pm.deer())
    >>> mcmc = pm.MCMC(kernel, num_warmup=200, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples()["x"].shape
    (500, 2)
    """

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        return mala(logdensity_fn, w, step_size)


class ParallelRandomWalk(AdaptiveKernel):
    """Random-walk Metropolis, all draws at once and without a gradient.

    Args:
        step_size: standard deviation of a step in whitened coordinates, at the beginning of
            the warm-up.
        target_accept_prob: 0.234, which is best for many unknowns (Roberts et al. 1997).
        model, potential_fn, inverse_mass_matrix, adapt_step_size, adapt_mass_matrix, dense_mass,
            init_strategy, solver, window, tol, max_iterations: as in `ParallelHMC`.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given.

    Costs one log density per draw and iteration. With `pm.picard()`, which is Newton's method
    here, a solve takes some tens to hundreds of iterations: a random walk forgets slowly.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> kernel = pm.ParallelRandomWalk(model, solver=pm.picard())
    >>> mcmc = pm.MCMC(kernel, num_warmup=200, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples()["x"].shape
    (500, 2)
    """

    needs_gradient = False

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list | None = None,
        target_accept_prob: float = 0.234,
        **options: Any,
    ):
        super().__init__(
            model, potential_fn, step_size, inverse_mass_matrix, adapt_step_size,
            adapt_mass_matrix, dense_mass, target_accept_prob, **options,
        )  # fmt: skip

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        return random_walk(logdensity_fn, w, step_size)
