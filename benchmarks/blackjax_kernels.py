"""The BlackJAX kernels that the tests and the table in the docs go through, on two posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.problem import Example, starting_at
from parallel_mcmc import from_blackjax
from parallel_mcmc.targets import Target, eight_schools, logistic_regression


def small_logistic_regression() -> Target:
    """50 rows, 3 coefficients: posterior standard deviations of about .3."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3))
    labels = rng.random(50) < 1 / (1 + np.exp(-features @ np.array([1.0, -0.5, 0.0])))
    return logistic_regression("logistic", features, labels)


TARGETS = {"logistic": small_logistic_regression(), "eight_schools": eight_schools()}

SCALE = {
    "logistic": np.full(3, 0.35),
    # ravel_pytree sorts by name: log tau, mu, z.
    "eight_schools": np.array([1.2, 3.3] + [0.95] * 8),
}
"""Posterior standard deviations, rounded: the metric of the kernels, the unit of the tests."""

KERNELS = [
    "rmh", "additive_step_random_walk", "irmh", "mala", "barker", "hmc", "mhmc", "dhmc", "nuts",
    "ghmc", "elliptical_slice", "slice_sampling", "mclmc", "adjusted_mclmc", "rmhmc",
    "mgrad_gaussian",
]  # fmt: skip


def make(kernel: str, target: str, position):
    """The kernel on the target, at a step size at which it accepts often."""
    import blackjax
    from blackjax.mcmc import random_walk

    logdensity_fn = TARGETS[target].logdensity_fn
    flat, unravel = ravel_pytree(position)
    D, scale = flat.size, jnp.asarray(SCALE[target], flat.dtype)
    variance, small = scale**2, float(scale.min())

    def draw(key):
        return unravel(scale * jax.random.normal(key, (D,), flat.dtype))

    def walk(key, position):
        return jax.tree.map(lambda x, step: x + step / 2, position, draw(key))

    def tilted(position):
        """Without the standard normal prior that a latent Gaussian kernel adds."""
        x = ravel_pytree(position)[0]
        return logdensity_fn(position) + jnp.sum((x / scale) ** 2) / 2

    f, diagonal, mean = logdensity_fn, jnp.diag(variance), jnp.zeros(D, flat.dtype)
    return {
        "rmh": lambda: blackjax.rmh(f, walk),
        "additive_step_random_walk": lambda: blackjax.additive_step_random_walk(
            f, random_walk.normal(scale / 2)
        ),
        "irmh": lambda: blackjax.irmh(f, draw),
        "mala": lambda: blackjax.mala(f, 0.2 * small**2),
        "barker": lambda: blackjax.barker(f, 0.6 * small),
        "hmc": lambda: blackjax.hmc(f, 0.25, variance, 6),
        "mhmc": lambda: blackjax.mhmc(f, 0.25, variance, 6),
        "dhmc": lambda: blackjax.dhmc(f, 0.25, variance),
        "nuts": lambda: blackjax.nuts(f, 0.4, variance, max_num_doublings=4),
        "ghmc": lambda: blackjax.ghmc(f, 0.3, scale, 0.5, 0.1),
        "elliptical_slice": lambda: blackjax.elliptical_slice(tilted, mean=mean, cov=diagonal),
        "slice_sampling": lambda: blackjax.slice_sampling(f, width=2.0 * small),
        "mclmc": lambda: blackjax.mclmc(f, L=1.0, step_size=0.3 * small),
        "adjusted_mclmc": lambda: blackjax.adjusted_mclmc(
            f, step_size=0.5 * small, num_integration_steps=4
        ),
        "rmhmc": lambda: blackjax.rmhmc(f, 0.25, diagonal, 4),
        "mgrad_gaussian": lambda: blackjax.mgrad_gaussian(tilted, diagonal, step_size=1.0),
    }[kernel]()


def example(kernel: str, target: str) -> Example:
    position = TARGETS[target].position

    def build(data):
        return starting_at(from_blackjax(make(kernel, target, position)), position)

    return Example(target.replace("_", " "), kernel, {1_000: None}, build)


EXAMPLES = tuple(example(kernel, target) for target in TARGETS for kernel in KERNELS)
