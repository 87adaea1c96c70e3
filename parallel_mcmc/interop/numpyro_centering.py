"""How far to centre the sites of a hierarchical model, each of their elements by itself.

A value x ~ Normal(loc, scale), whose scale is unknown too, makes a funnel of one kind where data
say little of it, and of the other kind where they say much. NumPyro's `LocScaleReparam` samples

    y = centered * loc + (x - loc) / scale^(1 - centered)

in its place, which is neither for the right number. Helpers draw from the model with
``centered=0``; the same draws say, for any other number, how far y and what it hangs on would be
from normal. Of coordinates y with the residual r of a regression on loc and log(scale), that is

    log sd(r) + (1 - centered) mean(log scale)

up to what all numbers have in common: the relative entropy from the normal that comes closest, as
dy/dx is scale^-(1 - centered). The least of it is taken.

Partial centering is from Papaspiliopoulos, Roberts and Skold (2007); Gorinova, Moore and Hoffman
(arXiv:1906.03028) fit it along with a variational approximation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import constrain_fn

from parallel_mcmc.adaptation import (
    RADIUS,
    PoolInfo,
    adapt_helpers,
    check_helpers,
    warn_unsettled,
)
from parallel_mcmc.interop.numpyro_start import DEFAULT_INIT, find_start

SHAPE_PARAMS: dict[type, tuple[str, ...]] = {
    dist.Cauchy: (),
    dist.Gumbel: (),
    dist.Laplace: (),
    dist.Logistic: (),
    dist.Normal: (),
    dist.StudentT: ("df",),
}
"""Distributions of all real numbers with ``loc`` and ``scale``, and what else they have."""

NUM_HELPERS = 256
"""As each of them is one draw."""

CENTERED = np.linspace(0, 1, 21)
"""What is tried: with so many draws nearer ones cannot be told apart."""


class Centering(NamedTuple):
    """What helpers found.

    Attributes:
        config: for `numpyro.handlers.reparam`, a `LocScaleReparam` for each site that is not best
            left as it is. Its ``centered`` has the shape of the site's value.
        settled: whether the helpers had forgotten where they started.
        num_gradients: that followed one another.
    """

    config: dict[str, LocScaleReparam]
    settled: bool
    num_gradients: int


def centering(
    rng_key: Any,
    model: Callable,
    model_args: tuple = (),
    model_kwargs: dict | None = None,
    *,
    num_helpers: int = NUM_HELPERS,
    max_gradients: int = 1_000,
) -> Centering:
    """Find how far to centre the sites of a NumPyro model whose location or scale is random.

    A hierarchical model whose perturbations grow, or that forgets slowly, is solved in few
    iterations or none; mostly for how it is written. The posterior stays what it is, whatever
    is found here.

    Args:
        rng_key: typed or raw.
        model: as written, centred.
        model_args, model_kwargs: its data. What is found is for values of these shapes.
        num_helpers: chains that draw from it, each of them one draw.
        max_gradients: that may follow one another: half of them with all sites decentred
            and, where helpers do not settle, half with the model as written.

    Returns:
        A `Centering`, whose ``config`` is for `numpyro.handlers.reparam`. Sites are considered that
        are real, of a distribution with ``loc`` and ``scale``, if one of these depends on another
        site; ``config`` is empty where there are none.

    Raises:
        ValueError: for fewer than 8 helpers.

    Warns:
        AdaptationWarning: where helpers did not settle; the config is of where they have come to.

    Costs some hundred gradients of all helpers, as a warm-up by helpers does.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> from jax import numpy as jnp
    >>> def schools(y, sigma):
    ...     mu = numpyro.sample("mu", dist.Normal(0, 5))
    ...     tau = numpyro.sample("tau", dist.HalfNormal(5))
    ...     with numpyro.plate("schools", len(y)):
    ...         theta = numpyro.sample("theta", dist.Normal(mu, tau))
    ...         numpyro.sample("y", dist.Normal(theta, sigma), obs=y)
    >>> data = jnp.array([28.0, 8, -3, 7]), jnp.array([1.0, 10, 16, 11])
    >>> found = pm.centering(jax.random.key(0), schools, data)
    >>> bool(found.config["theta"].centered[0] > 0.8)  # much is known of the first
    True
    >>> kernel = pm.ParallelHMC(numpyro.handlers.reparam(schools, config=found.config))
    """
    check_helpers(num_helpers)
    model_kwargs = {} if model_kwargs is None else model_kwargs
    data = model_args, model_kwargs
    begin, num_gradients = decentered(model, rng_key, *data), 0
    if not begin:
        return Centering({}, True, 0)
    # Where data say much, so that decentred values hang on each other, they do not as written.
    for attempt, now in enumerate((handlers.reparam(model, config=begin), model)):
        key = jax.random.fold_in(rng_key, attempt)
        info = helpers_of(now, key, *data, max_gradients // 2, num_helpers)
        num_gradients += int(info.num_gradients)
        config = chosen(model, now, begin, info.positions, *data)
        if info.settled:
            return Centering(config, True, num_gradients)
    so = "the centering is of where they have come to; give more `max_gradients`"
    warn_unsettled(info, so, stacklevel=2)
    return Centering(config, False, num_gradients)


def helpers_of(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict, max_gradients: int, num_helpers: int
) -> PoolInfo:
    """Helpers around zero, in unconstrained values."""
    key_start, key_helpers = jax.random.split(rng_key)
    info = find_start(model, key_start, DEFAULT_INIT, True, False, args, kwargs)
    potential_fn = info.potential_fn(*args, **kwargs)
    zero = jax.tree.map(jnp.zeros_like, info.param_info.z)
    return adapt_helpers(
        key_helpers, lambda z: -potential_fn(z), zero, max_gradients, None, 0.8, num_helpers,
        RADIUS,
    ).info  # fmt: skip


def chosen(
    model: Callable, now: Callable, begin: dict, z: Any, args: tuple, kwargs: dict
) -> dict[str, LocScaleReparam]:
    """The config for a model as it was written that suits draws ``z`` of it as it is ``now``."""
    key = jax.random.key(0)  # for what is discrete

    def as_written(z):
        values = constrain_fn(now, args, kwargs, z, return_deterministic=True)
        sites = sites_of(handlers.substitute(model, data=values), key, args, kwargs)
        drawn = {name: sites[name] for name in begin}
        return {name: jnp.broadcast_arrays(x, fn.loc, fn.scale) for name, (x, fn) in drawn.items()}

    def best(z):
        return {name: best_centered(*draws) for name, draws in jax.vmap(as_written)(z).items()}

    found = jax.device_get(jax.jit(best)(z))
    return {
        name: LocScaleReparam(centered, begin[name].shape_params)
        for name, centered in found.items()
        if np.any(centered < 1)
    }


def best_centered(
    x: Float[Array, "K ..."], loc: Float[Array, "K ..."], scale: Float[Array, "K ..."]
) -> Float[Array, "..."]:
    """By which each element is nearest to normal, of K draws; 0 where that cannot be said."""
    shape = x.shape[1:]
    x, loc, log_scale = (a.reshape(len(a), -1).T for a in (x, loc, jnp.log(scale)))
    known = jnp.stack([jnp.ones_like(loc), loc, log_scale], axis=-1)
    # Unit columns: one of zeros, or of what another has already, is left out by its singular value.
    known /= jnp.maximum(jnp.linalg.norm(known, axis=1, keepdims=True), 1e-30)
    left, singular, _ = jnp.linalg.svd(known, full_matrices=False)
    left *= (singular > 1e-3 * singular[:, :1])[:, None]

    def from_normal(centered):
        y = centered * loc + (x - loc) * jnp.exp((centered - 1) * log_scale)
        residual = y - jnp.einsum("nkp,nlp,nl->nk", left, left, y)
        return jnp.log(jnp.std(residual, axis=1)) + (1 - centered) * jnp.mean(log_scale, axis=1)

    tried = jnp.asarray(CENTERED, x.dtype)
    distance = jax.vmap(from_normal)(tried)
    distance = jnp.where(jnp.isfinite(distance), distance, jnp.inf)
    return tried[jnp.argmin(distance, axis=0)].reshape(shape)


def sites_of(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict
) -> dict[str, tuple[Array, dist.Distribution]]:
    """Latent values whose distribution has a location and a scale, with that distribution."""
    trace = handlers.trace(handlers.seed(model, rng_key)).get_trace(*args, **kwargs)
    found = {}
    for name, site in trace.items():
        if site["type"] == "sample" and not site["is_observed"]:
            fn = site["fn"]
            while isinstance(fn, dist.Independent | dist.ExpandedDistribution):
                fn = fn.base_dist
            if type(fn) in SHAPE_PARAMS:
                found[name] = site["value"], fn
    return found


def decentered(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict
) -> dict[str, LocScaleReparam]:
    """Of each site whose location or scale is random, if NumPyro's handler reaches it."""
    reached = set()

    def note(site):
        if site["value"] is None:  # within `scan` it comes with values
            reached.add(site["name"])

    noted = handlers.reparam(model, config=note)
    one, other = (sites_of(noted, key, args, kwargs) for key in jax.random.split(rng_key))
    return {
        name: LocScaleReparam(0.0, SHAPE_PARAMS[type(fn)])
        for name, (_, fn) in one.items()
        if name in reached
        and (np.any(fn.loc != other[name][1].loc) or np.any(fn.scale != other[name][1].scale))
    }
