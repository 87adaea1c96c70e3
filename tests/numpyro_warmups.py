"""Models and runs that tests of NumPyro's warm-up by helpers share."""

import jax
import numpyro
import numpyro.distributions as dist
from numpyro_runs import CLASSES

SD = 10.0


def model():
    """Two unknowns of very different scale, correlated, and a positive one."""
    a = numpyro.sample("a", dist.Normal(0, 0.1))
    numpyro.sample("b", dist.Normal(50 * a, SD))
    numpyro.sample("scale", dist.LogNormal(0, 0.5))


def walk():
    """A random walk of a hundred states: it mixes badly without its correlations."""
    numpyro.sample("x", dist.GaussianRandomWalk(1.0, 100))


def run(kernel, cls="pm", num_warmup=500, num_samples=400, num_chains=2, method="vectorized"):
    mcmc = CLASSES[cls](
        kernel, num_warmup=num_warmup, num_samples=num_samples, num_chains=num_chains,
        chain_method=method, progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(0))
    return mcmc


def started(kernel, num_warmup=500, **options):
    return kernel.init(jax.random.key(0), num_warmup, **options)
