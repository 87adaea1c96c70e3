"""Models and runs that tests of the NumPyro kernels share."""

import functools

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC
from numpyro.infer.reparam import LocScaleReparam

import parallel_mcmc as pm

CLASSES = {"numpyro": MCMC, "pm": pm.MCMC}


def run(kernel, *args, cls="pm", num_warmup=20, num_samples=25, init_params=None, **options):
    mcmc = CLASSES[cls](
        kernel, num_warmup=num_warmup, num_samples=num_samples, progress_bar=False, **options
    )
    mcmc.run(jax.random.key(0), *args, init_params=init_params)
    return mcmc


def schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfNormal(5.0))
    with numpyro.plate("school", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)


SIGMA, EFFECTS = np.array([15.0, 10.0, 16.0]), np.array([28.0, 8.0, -3.0])


@functools.cache
def school_run():
    """Two chains of the reparameterised schools."""
    reparam = numpyro.handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)})
    return run(pm.ParallelHMC(reparam), SIGMA, EFFECTS, num_chains=2, chain_method="vectorized")


def one():
    numpyro.sample("x", dist.Normal(0.0, 1.0))
