"""Gibbs sampling of a NumPyro model with the user's own reparameterised updates."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.infer.util import log_density
from numpyro.util import is_prng_key

from parallel_mcmc._core.auto import Auto
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.gibbs import GibbsBlock, gibbs
from parallel_mcmc._numpyro.chain import Chain, draw_one
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.start import DEFAULT_INIT, chosen_start


class ParallelGibbs(ParallelKernel):
    """Gibbs sampling, all draws at once: each update a function of the state and fixed noise.

    Args:
        model: a NumPyro model, for the start, the deterministic sites and the density; or None,
            then `MCMC.run` needs ``init_params``.
        blocks: the updates, `pm.GibbsBlock`, in the order in which a step makes them; or a
            function of the model's arguments that returns them. They see and set the values of
            the model's sites themselves, within their supports: neither ``z`` nor ``init_params``
            is unconstrained here.
        init_strategy, solver, window, diagnose: as in `ParallelHMC`.

    Nothing is adapted: the warm-up steps are steps like the others, left out of the draws.
    ``potential_energy`` is minus the log joint density of the model at the draw, NaN without one.

    Raises:
        ValueError: for a model with discrete latent sites, without a model and without
            ``init_params``, or if an update sets a site that does not exist.

    Costs one pass over the blocks per draw and iteration.

    >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model(y):
    ...     mu = numpyro.sample("mu", dist.Normal(0, 10))
    ...     numpyro.sample("y", dist.Normal(mu, 1), obs=y)
    >>> def blocks(y):
    ...     precision = 1 / 100 + y.size
    ...     return [
    ...         pm.GibbsBlock(
    ...             jax.random.normal,
    ...             lambda x, noise: {"mu": jnp.sum(y) / precision + noise / jnp.sqrt(precision)},
    ...         )
    ...     ]
    >>> mcmc = pm.MCMC(
    ...     pm.ParallelGibbs(model, blocks), num_warmup=10, num_samples=100, progress_bar=False
    ... )
    >>> mcmc.run(jax.random.key(0), jnp.array([1.0, 2.0, 3.0]))
    >>> mcmc.get_samples()["mu"].shape
    (100,)
    """

    needs_density = False

    def __init__(
        self,
        model: Callable | None,
        blocks: Sequence[GibbsBlock] | Callable[..., Sequence[GibbsBlock]],
        init_strategy: Callable = DEFAULT_INIT,
        solver: Solver | Auto | None = None,
        window: int | None = None,
        diagnose: bool = False,
    ):
        super().__init__(model, None, init_strategy, solver, window, diagnose)
        self._blocks = blocks

    def chain(self, potential_fn: Callable, z: Any, adapt_state: Any, model_args: tuple) -> Chain:
        args, kwargs = model_args
        blocks = self._blocks(*args, **kwargs) if callable(self._blocks) else self._blocks
        transition = gibbs(blocks).at(z)
        return Chain(transition, lambda z: z, lambda z: z, potential_fn, draw_one(transition))

    def postprocess_fn(self, model_args: tuple, model_kwargs: dict | None) -> Callable:
        """Adds the deterministic sites of the model."""
        model = self._model
        if model is None:
            return lambda z: z
        kwargs = {} if model_kwargs is None else model_kwargs

        def with_deterministic_sites(z):
            replayed = handlers.substitute(handlers.seed(model, 0), data=z)
            trace = handlers.trace(replayed).get_trace(*model_args, **kwargs)
            sites = {
                n: site["value"] for n, site in trace.items() if site["type"] == "deterministic"
            }
            return z | sites

        return with_deterministic_sites

    def start(self, rng_key, init_params, model_args, model_kwargs):
        if self._model is None:
            return super().start(rng_key, init_params, model_args, model_kwargs)
        check_continuous(self._model, model_args, model_kwargs)
        # Where the model may begin, taken to the supports of its sites.
        z = super().start(rng_key, None, model_args, model_kwargs)
        assert self._postprocess_fn is not None
        constrain = self._postprocess_fn(*model_args, **model_kwargs)
        one = is_prng_key(rng_key)
        values = constrain(z) if one else jax.vmap(constrain)(z)
        return chosen_start(init_params, {name: values[name] for name in z})

    def _potential(self, model_args, model_kwargs):
        model = self._model
        if model is None:
            return lambda z: jnp.nan
        return lambda z: -log_density(model, model_args, model_kwargs, z)[0]


def check_continuous(model: Callable, model_args: tuple, model_kwargs: dict) -> None:
    trace = handlers.trace(handlers.seed(model, 0)).get_trace(*model_args, **model_kwargs)
    discrete = [
        name
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"] and site["fn"].support.is_discrete
    ]
    if discrete:
        raise ValueError(
            f"ParallelGibbs finds no start for the discrete sites {discrete}; pass model=None and "
            "init_params with a value for every site, as floating-point numbers, or use "
            "`numpyro.infer.DiscreteHMCGibbs`."
        )
