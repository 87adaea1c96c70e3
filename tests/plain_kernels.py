"""Kernels with their randomness drawn beforehand, written out, on targets that are hard to solve.

Tests with them are of ways to a wrong chain without a word. Each was seen in an implementation
that stops when its iterates stop changing. The chain must be the sequential one, or the report
must say what is wrong; mostly both are asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm

T = 1000


@functools.cache
def hmc(logdensity_fn, num_leapfrogs=8):
    gradient = jax.grad(logdensity_fn)

    def step(x, u):
        def leapfrog(_, qp):
            q, p = qp
            p = p + u["step_size"] / 2 * gradient(q)
            q = q + u["step_size"] * p
            return q, p + u["step_size"] / 2 * gradient(q)

        q, p = jax.lax.fori_loop(0, num_leapfrogs, leapfrog, (x, u["noise"]))
        energy_before = -logdensity_fn(x) + u["noise"] @ u["noise"] / 2
        energy_after = -logdensity_fn(q) + p @ p / 2
        return jnp.where(u["log_uniform"] < energy_before - energy_after, q, x)

    return step


@functools.cache
def mala(logdensity_fn):
    gradient = jax.grad(logdensity_fn)

    def step(x, u):
        eps = u["step_size"]

        def drift(x):
            return x + eps * gradient(x)

        y = drift(x) + jnp.sqrt(2 * eps) * u["noise"]
        forward = -jnp.sum((y - drift(x)) ** 2) / (4 * eps)
        backward = -jnp.sum((x - drift(y)) ** 2) / (4 * eps)
        log_ratio = logdensity_fn(y) + backward - logdensity_fn(x) - forward
        return jnp.where(u["log_uniform"] < log_ratio, y, x)

    return step


def draws(step_size, D, dtype=np.float32, seed=0, num_steps=T):
    noise_key, uniform_key = jax.random.split(jax.random.key(seed))
    return {
        "noise": jax.random.normal(noise_key, (num_steps, D), dtype),
        "log_uniform": jnp.log(jax.random.uniform(uniform_key, (num_steps,), dtype)),
        "step_size": jnp.full(num_steps, step_size, dtype),
    }


def banana(x):
    """x1 ~ N(0, 10), x2 ~ N(0.03 (x1^2 - 100), 1)."""
    return -(x[0] ** 2) / 20 - (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2 / 2


def gamma(x):
    """Gamma(3, 1) in each coordinate; its logarithm is NaN outside the support."""
    return jnp.sum(2 * jnp.log(x) - x)


def far_away(x):
    """Mean 1e4, standard deviation 1."""
    return -jnp.sum((x - 1e4) ** 2) / 2


SCALES = np.array([0.1, 0.3, 1.0, 3.0, 10.0])


def many_scales(x):
    """Standard deviations from .1 to 10."""
    return -jnp.sum((x / SCALES.astype(x.dtype)) ** 2) / 2


def assert_right_chain(trajectory, expected, error=1e-3):
    """Equal to the sequential chain, in units of its spread per coordinate.

    Residuals of 1e-5 (float32) or 1e-10 (float64) of the spread accumulate to some 1e-4 at
    most. A wrong chain, or one accept decision that differs, is off by about one.
    """
    expected = np.asarray(expected, float)
    assert np.all(np.isfinite(expected))
    spread = np.std(expected, axis=0)
    np.testing.assert_array_less(
        np.abs(np.asarray(trajectory, float) - expected) / spread, error * np.ones_like(expected)
    )


def assert_says_so(info, num_steps=T):
    """The report agrees with what it says of the steps."""
    by_hand = int(info.num_sequential_steps)
    assert int(info.status) == (pm.Status.FINISHED_SEQUENTIALLY if by_hand else pm.Status.CONVERGED)
    assert (int(info.frontier) == num_steps) == (by_hand == 0)
