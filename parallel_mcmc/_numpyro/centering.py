"""How far to centre the sites of a hierarchical model, separately for each element.

A value x ~ Normal(loc, scale) with an unknown scale makes a funnel of one kind where the data say
little about it. Written the other way, x = loc + scale z, it makes a funnel of another kind where
they say much. NumPyro's `LocScaleReparam` samples

    y = centered * loc + (x - loc) / scale^(1 - centered)

in its place. With the right ``centered``, y makes neither. Helpers draw from the model with
``centered=0``. For any other number, the same draws show how far y would be from depending on
nothing else. Linear dependence does not count, as the metric removes it. Up to a constant that all
numbers share, the measure is

    log E|r| - centered E log(scale)

where r is the residual of a regression of y on loc and log(scale), because dy/dx is
scale^-(1 - centered). The number with the smallest value is taken. Deviations are not squared, as
priors may have heavy tails.

Partial centering is from Papaspiliopoulos, Roberts and Skold (2007); Gorinova, Moore and Hoffman
(arXiv:1906.03028) fit it along with a variational approximation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

from parallel_mcmc._mcmc.adaptation import (
    RADIUS,
    PoolInfo,
    adapt_helpers,
    check_helpers,
    warn_unsettled,
)
from parallel_mcmc._numpyro.hierarchy import decentered, sites_of
from parallel_mcmc._numpyro.start import DEFAULT_INIT, find_start

NUM_HELPERS = 256
"""More than in a warm-up, as each of them is one draw."""

CENTERED = np.linspace(0, 1, 21)
"""The values tried: with so many draws, values closer together cannot be told apart."""

LEAST_VARIANCE = 1e-10
"""Variance above which a location, or the logarithm of a scale, varies by more than rounding."""


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
    num_steps: int = 1_000,
) -> Centering:
    """Find how far to centre the sites of a NumPyro model whose location or scale is random.

    If the chain of a hierarchical model lets perturbations grow or forgets slowly, it takes many
    iterations or is not solved. Mostly this is due to how the model is written. The posterior stays
    the same, whatever is found here.

    Args:
        rng_key: typed or raw.
        model: as written, centred.
        model_args, model_kwargs: its data. What is found is for values of these shapes.
        num_helpers: chains that draw from it, each of them one draw.
        num_steps: the most HMC steps of the helpers: half of them with all sites decentred and, if
            the helpers do not settle, half with the model as written.

    Returns:
        A `Centering`, whose ``config`` is for `numpyro.handlers.reparam`. It considers sites with a
        `Normal`, `StudentT`, `Laplace`, `AsymmetricLaplace`, `SoftLaplace`, `Logistic` or `Gumbel`
        whose ``loc`` or ``scale`` depends on another site, and on no discrete one. Sites that are
        masked, within `scan` or of a subsample are left as they are. ``config`` is empty if there
        are no others.

    Raises:
        ValueError: for fewer than 8 helpers.
        TypeError: if ``model_args`` is not a tuple.

    Warns:
        AdaptationWarning: if the helpers did not settle; the config is from where they got to.

    Costs a few hundred gradients of all helpers, as a warm-up by helpers does.

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
    if not isinstance(model_args, tuple | list):
        raise TypeError("model_args is a tuple: of one argument `(y,)`.")
    data = tuple(model_args), model_kwargs or {}
    begin, num_gradients = decentered(model, rng_key, *data), 0
    if not begin:
        return Centering({}, True, 0)
    # Where data say much, so that decentred values hang on each other, they do not as written.
    for attempt, now in enumerate((handlers.reparam(model, config=begin), model)):
        key = jax.random.fold_in(rng_key, attempt)
        info, values = helpers_of(now, key, *data, num_steps // 2, num_helpers)
        config = chosen(model, begin, values, *data)
        num_gradients += int(info.num_gradients)
        if info.settled:
            return Centering(config, True, num_gradients)
    so = "the centering is of where they have come to; give more `num_steps`"
    warn_unsettled(info._replace(num_gradients=jnp.asarray(num_gradients)), so, stacklevel=2)
    return Centering(config, False, num_gradients)


def helpers_of(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict, num_steps: int, num_helpers: int
) -> tuple[PoolInfo, dict[str, Array]]:
    """Helpers that began around zero, and the values of all sites at their positions."""
    key_start, key_helpers = jax.random.split(rng_key)
    model_info = find_start(model, key_start, DEFAULT_INIT, True, False, args, kwargs)
    potential_fn = model_info.potential_fn(*args, **kwargs)
    zero = jax.tree.map(jnp.zeros_like, model_info.param_info.z)
    info = adapt_helpers(
        key_helpers, lambda z: -potential_fn(z), zero, num_steps, None, 0.8, num_helpers,
        RADIUS,
    ).info  # fmt: skip
    values = jax.jit(jax.vmap(model_info.postprocess_fn(*args, **kwargs)))(info.positions)
    fixed = {
        name: jnp.broadcast_to(site["value"], (num_helpers, *jnp.shape(site["value"])))
        for name, site in model_info.model_trace.items()
        if site["type"] == "param"
    }
    return info, fixed | values


def chosen(
    model: Callable, begin: dict, values: dict[str, Array], args: tuple, kwargs: dict
) -> dict[str, LocScaleReparam]:
    """The config that suits draws of a model's values, for the model as it is written."""

    def of_sites(values):
        sites = sites_of(handlers.substitute(model, data=values), jax.random.key(0), args, kwargs)
        drawn = {name: sites[name] for name in begin}
        return {name: jnp.broadcast_arrays(x, fn.loc, fn.scale) for name, (x, fn) in drawn.items()}

    def best(values):
        return {name: best_centered(*drawn) for name, drawn in jax.vmap(of_sites)(values).items()}

    return {
        name: LocScaleReparam(centered, begin[name].shape_params)
        for name, centered in jax.device_get(jax.jit(best)(values)).items()
        if np.any(centered < 1)
    }


def best_centered(
    x: Float[Array, "K ..."], loc: Float[Array, "K ..."], scale: Float[Array, "K ..."]
) -> Float[Array, "..."]:
    """The best ``centered`` of each element, from K draws; 0 where these do not decide."""
    log_scale = jnp.log(scale)
    width = log_scale - jnp.mean(log_scale, axis=0)
    place = without(loc - jnp.mean(loc, axis=0), width)
    # Where the scale is known all dependence is linear, and nothing else is there to go by.
    varies = jnp.mean(width**2, axis=0) > LEAST_VARIANCE

    def from_independent(centered):
        y = centered * loc + (x - loc) * jnp.exp((centered - 1) * log_scale)
        y = y - jnp.mean(y, axis=0)
        y = jnp.where(varies, without(without(y, width), place), y)
        return jnp.log(jnp.mean(jnp.abs(y), axis=0)) - centered * jnp.mean(log_scale, axis=0)

    tried = jnp.asarray(CENTERED, x.dtype)
    found = jax.lax.map(from_independent, tried)  # one by one, as each is as large as all draws
    found = jnp.where(jnp.isfinite(found), found, jnp.inf)
    return tried[jnp.argmin(found, axis=0)]


def without(y: Float[Array, "K ..."], by: Float[Array, "K ..."]) -> Float[Array, "K ..."]:
    """The residual of a regression of y on ``by``; both have mean zero."""
    square = jnp.mean(by**2, axis=0)
    slope = jnp.mean(y * by, axis=0) / jnp.where(square > LEAST_VARIANCE, square, jnp.inf)
    return y - slope * by
