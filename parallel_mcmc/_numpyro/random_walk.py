"""Random-walk Metropolis for `numpyro.infer.MCMC`."""

from collections.abc import Callable
from typing import Any

from parallel_mcmc._mcmc.random_walk import random_walk
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._numpyro.adaptive import AdaptiveKernel


class ParallelRandomWalk(AdaptiveKernel):
    """Random-walk Metropolis, all draws at once and without a gradient.

    Args:
        step_size: standard deviation of a step in whitened coordinates, at the beginning of
            the warm-up.
        target_accept_prob: 0.234, which is best for many unknowns (Roberts et al. 1997).

    The other arguments, except those of a trajectory, its jitter and ``find_heuristic_step_size``,
    are as in `ParallelHMC`.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given.
        TypeError: for an option that does not exist.

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
    default_accept_prob = 0.234

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        return random_walk(logdensity_fn, step_size).at(w)
