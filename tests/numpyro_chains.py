"""Small chains of every kernel under NumPyro, and what each must be: the chain step by step."""

import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro_runs import CLASSES

import parallel_mcmc as pm

NUM_WARMUP, NUM_SAMPLES, WINDOW = 40, 30, 12  # the last window is not used up
Y = np.array([0.3, 1.9, -0.4, 1.1])
EXACT = {"rtol": 1e-6, "atol": 1e-6}  # tol is 1e-10 of the spread, and steps contract


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.deterministic("variance", sigma**2)
    with numpyro.plate("data", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def mean_model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    variance = numpyro.sample("variance", dist.InverseGamma(3.0, 2.0))
    numpyro.deterministic("sigma", jnp.sqrt(variance))
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variance)), obs=y)


def blocks(y):
    def update_mean(x, noise):
        precision = 1 / 4 + y.size / x["variance"]
        return {"mu": jnp.sum(y) / x["variance"] / precision + noise / jnp.sqrt(precision)}

    def update_variance(x, noise):
        return {"variance": noise * (2.0 + jnp.sum((y - x["mu"]) ** 2) / 2)}

    return [
        pm.GibbsBlock(jax.random.normal, update_mean),
        pm.GibbsBlock(lambda key: 1 / jax.random.gamma(key, 3 + y.size / 2), update_variance),
    ]


def blackjax_mala(logdensity_fn):
    return blackjax.mala(logdensity_fn, 0.1)


def blackjax_dynamic_hmc(logdensity_fn):
    return blackjax.dhmc(logdensity_fn, 0.3, jnp.ones(2))


# In windows as short as these the cheapest solver to compile does for all kernels.
KERNELS = {
    "hmc": (lambda **o: pm.ParallelHMC(model, step_size=0.5, **o), pm.jacobi),
    "mala": (lambda **o: pm.ParallelMALA(model, step_size=0.1, **o), pm.jacobi),
    "random walk": (lambda **o: pm.ParallelRandomWalk(model, **o), pm.picard),
    "blackjax mala": (lambda **o: pm.ParallelBlackJAX(model, blackjax_mala, **o), pm.deer),
    "blackjax dhmc": (lambda **o: pm.ParallelBlackJAX(model, blackjax_dynamic_hmc, **o), pm.jacobi),
    "gibbs": (lambda **o: pm.ParallelGibbs(mean_model, blocks, **o), pm.jacobi),
}


def mostly(values, slow, thorough=()):
    """Parameters of a test, some of them for longer runs only."""
    name = {jax.vmap: "vmap"}  # its own would hold an address
    return [
        pytest.param(
            v,
            marks=[pytest.mark.slow] * (v in slow) + [pytest.mark.thorough] * (v in thorough),
            id=name.get(v, str(v)),
        )
        for v in values
    ]


FIELDS = ("potential_energy", "accept_prob", "mean_accept_prob", "solve.status", "i")


def sampler(kernel="mala", cls="pm", solver=None, window=WINDOW, **options):
    make, default = KERNELS[kernel]
    settings = {"num_warmup": NUM_WARMUP, "num_samples": NUM_SAMPLES, "progress_bar": False}
    made = make(solver=default() if solver is None else solver, window=window)
    return CLASSES[cls](made, **(settings | options))


def drawn(mcmc):
    """Draws and fields by chain, as numpy arrays."""
    return jax.device_get((mcmc.get_samples(True), mcmc.get_extra_fields(True)))


def assert_same(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **(tolerance or EXACT)), one, other)


def run(*args, seed=0, y=Y, extra_fields=FIELDS, **options):
    mcmc = sampler(*args, **options)
    mcmc.run(jax.random.key(seed), y, extra_fields=extra_fields)
    return mcmc


@functools.cache
def stepwise(kernel="mala", num_chains=1, num_warmup=NUM_WARMUP):
    """What every run must reproduce: a solver that takes step after step."""
    options = {"num_chains": num_chains, "chain_method": "sequential", "num_warmup": num_warmup}
    return drawn(run(kernel, "pm", pm.sequential(), **options))
