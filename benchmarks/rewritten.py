"""Models of users, written anew for the sampler: centred as helpers find it, or through a flow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpyro
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBNAFNormal
from numpyro.infer.reparam import NeuTraReparam

import parallel_mcmc as pm

NUM_STEPS, NUM_PARTICLES, STEP_SIZE = 3_000, 16, 0.003
"""Of Adam, by which the flow is fitted; each step is a gradient that waits for the last."""


class Rewritten(NamedTuple):
    """A model with another geometry, and the same arguments.

    Attributes:
        num_gradients: one after the other, that it took to find it.
        sites_of: draws ``(chains, draws, ...)`` of its sites -> of those of the users' model.
    """

    model: Callable
    num_gradients: int
    sites_of: Callable[[dict[str, Any]], dict[str, Any]] = dict


def centred(rng_key: Any, model: Callable, arguments: tuple) -> Rewritten:
    """As helpers find it to be sampled best."""
    found = pm.centering(rng_key, model, arguments)
    return Rewritten(numpyro.handlers.reparam(model, config=found.config), found.num_gradients)


def through_a_flow(rng_key: Any, model: Callable, arguments: tuple) -> Rewritten:
    """NeuTra (arXiv:1903.03704): a flow is fitted to the posterior, and its base is sampled."""
    guide = AutoBNAFNormal(model, num_flows=1, hidden_factors=[4, 4])
    svi = SVI(model, guide, numpyro.optim.Adam(STEP_SIZE), Trace_ELBO(NUM_PARTICLES))
    fitted = svi.run(rng_key, NUM_STEPS, *arguments, progress_bar=False)
    neutra = NeuTraReparam(guide, fitted.params)

    def sites_of(draws):
        base = draws[f"{guide.prefix}_shared_latent"]
        return jax.vmap(jax.vmap(neutra.transform_sample))(base)

    return Rewritten(neutra.reparam(model), NUM_STEPS, sites_of)


REWRITTEN: dict[str, tuple[str, Callable[..., Rewritten]]] = {
    "baseball logits, by pm.centering": ("baseball logits", centred),
    "baseball logits, by NeuTra": ("baseball logits", through_a_flow),
    "admissions, by NeuTra": ("admissions", through_a_flow),
}
"""Rows, with the model that each is made of, and how."""
