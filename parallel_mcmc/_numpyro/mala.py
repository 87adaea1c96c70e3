"""The Metropolis-adjusted Langevin algorithm for `numpyro.infer.MCMC`."""

from collections.abc import Callable
from typing import Any

from parallel_mcmc._mcmc.mala import mala
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._numpyro.adaptive import AdaptiveKernel


class ParallelMALA(AdaptiveKernel):
    """The Metropolis-adjusted Langevin algorithm, all draws at once.

    Args:
        step_size: eps of w' = w + eps g + sqrt(2 eps) n in whitened coordinates, as in
            `pm.mala`, at the beginning of the warm-up.
        target_accept_prob: 0.8. For a chain that runs step by step 0.57 is best. Solved in
            parallel, its larger steps take several times as many iterations, and forgetting faster
            does not make up for that.

    The other arguments, except those of a trajectory, its jitter and ``find_heuristic_step_size``,
    are as in `ParallelHMC`.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given.
        TypeError: for an option that does not exist.

    Costs one gradient per draw and iteration, two where the solver needs derivatives. Its draws are
    correlated: prefer `ParallelHMC` unless memory is too short for its gradients.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> kernel = pm.ParallelMALA(model, solver=pm.deer())
    >>> mcmc = pm.MCMC(kernel, num_warmup=200, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples()["x"].shape
    (500, 2)
    """

    def num_steps_to_tune(self) -> int:
        return 1

    def step_size_of(self, leapfrog_step: Any) -> Any:
        """A leapfrog step h is a step of MALA with eps = h^2 / 2."""
        return leapfrog_step**2 / 2

    def transition(self, logdensity_fn: Callable, w: Any, step_size: Any) -> Transition:
        return mala(logdensity_fn, step_size).at(w)
