"""Which sites of a NumPyro model are hierarchical: their location or scale is itself random."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

from parallel_mcmc._numpyro.start import DEFAULT_INIT

SHAPE_PARAMS: dict[type, tuple[str, ...]] = {
    dist.AsymmetricLaplace: ("asymmetry",),
    dist.Gumbel: (),
    dist.Laplace: (),
    dist.Logistic: (),
    dist.Normal: (),
    dist.SoftLaplace: (),
    dist.StudentT: ("df",),
}
"""Distributions of all real numbers with ``loc`` and ``scale``, and what else they have. Cauchy's
draws are too far apart to compare."""


def sites_of(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict
) -> dict[str, tuple[Array, dist.Distribution]]:
    """Latent values whose distribution has a location and a scale, with that distribution.

    Not those whose log density is scaled, as in subsamples: the handler would scale its Jacobian.
    """
    trace = handlers.trace(handlers.seed(model, rng_key)).get_trace(*args, **kwargs)
    found = {}
    for name, site in trace.items():
        if site["type"] == "sample" and not site["is_observed"] and site["scale"] is None:
            fn = site["fn"]
            while isinstance(fn, dist.Independent | dist.ExpandedDistribution):
                fn = fn.base_dist
            if type(fn) in SHAPE_PARAMS:
                found[name] = site["value"], fn
    return found


def decentered(
    model: Callable, rng_key: Any, args: tuple, kwargs: dict
) -> dict[str, LocScaleReparam]:
    """The decentred form of each site that depends on others, none discrete, if in reach."""
    reached = set()

    def note(site):
        if site["value"] is None:  # within `scan` it comes with values
            reached.add(site["name"])

    noted = handlers.reparam(model, config=note)
    levels = discrete_levels(model, rng_key, args, kwargs)

    def drawn(key, level):
        given = handlers.substitute(drawn_by(noted, key), data=levels[level])
        return sites_of(given, key, args, kwargs)

    key, other_key = jax.random.split(rng_key)
    one, other, other_level = drawn(key, 0), drawn(other_key, 0), drawn(key, 1)
    return {
        name: LocScaleReparam(0.0, SHAPE_PARAMS[type(fn)])
        for name, (_, fn) in one.items()
        if name in reached and differ(fn, other[name][1]) and not differ(fn, other_level[name][1])
    }


def drawn_by(model: Callable, rng_key: Any) -> Callable:
    """The model with values as NumPyro tries them at a start; an improper prior cannot draw any."""
    return handlers.substitute(handlers.seed(model, rng_key), substitute_fn=DEFAULT_INIT())


def differ(one: dist.Distribution, other: dist.Distribution) -> bool:
    return bool(np.any(one.loc != other.loc) or np.any(one.scale != other.scale))


def discrete_levels(model: Callable, rng_key: Any, args: tuple, kwargs: dict) -> tuple[dict, dict]:
    """The least and the largest value of each latent site that is discrete."""
    trace = handlers.trace(drawn_by(model, rng_key)).get_trace(*args, **kwargs)
    sites = {
        name: (site["fn"].enumerate_support(expand=False), site["value"])
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"] and site["fn"].has_enumerate_support
    }
    least, largest = (
        {
            name: jnp.broadcast_to(support[end], value.shape)
            for name, (support, value) in sites.items()
        }
        for end in (0, -1)
    )
    return least, largest
