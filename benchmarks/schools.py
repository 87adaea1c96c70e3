"""Gibbs for eight schools with conjugate priors: a model whose conditionals are all known.

S = 8 schools of N = 20 students, x_sn ~ Normal(theta_s, sigma_s^2), and

    theta_s   ~ Normal(mu, tau^2)         mu | tau^2 ~ Normal(mu0, tau^2 / kappa0)
    tau^2     ~ Scaled-Inv-chi2(nu0, tausq0)
    sigma_s^2 ~ Scaled-Inv-chi2(alpha0, sigmasq0)

The data enter through each school's mean and its sum of squares. They are those of Rubin
(1981): N students whose mean has the published standard error s have variance N s^2. One
sweep updates tau^2, mu, theta, sigma^2, in this order, each a function of the others and of
noise drawn beforehand: 2 + 2 S = 18 unknowns.
"""

from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc import GibbsBlock, Transition, gibbs
from parallel_mcmc.targets import EFFECTS, STANDARD_ERRORS

S, N = 8, 20
MU0, KAPPA0 = 0.0, 0.1
NU0, TAUSQ0 = 0.1, 100.0
ALPHA0, SIGMASQ0 = 0.1, 10.0


def update_tausq(x, w):
    squares = KAPPA0 * (x["mu"] - MU0) ** 2 + jnp.sum((x["theta"] - x["mu"]) ** 2)
    return {"tausq": (NU0 * TAUSQ0 + squares) / 2 * w}


def update_mu(x, z):
    mean = (MU0 * KAPPA0 + jnp.sum(x["theta"])) / (KAPPA0 + S)
    return {"mu": mean + jnp.sqrt(x["tausq"] / (KAPPA0 + S)) * z}


def update_theta(x, z):
    variance = 1 / (N / x["sigmasq"] + 1 / x["tausq"])
    mean = variance * (N * EFFECTS / x["sigmasq"] + x["mu"] / x["tausq"])
    return {"theta": mean + jnp.sqrt(variance) * z}


def update_sigmasq(x, w):
    squares = N * (N * STANDARD_ERRORS**2) + N * (EFFECTS - x["theta"]) ** 2
    return {"sigmasq": (ALPHA0 * SIGMASQ0 + squares) / 2 * w}


def inverse_gamma_noise(shape: float, size: tuple[int, ...]):
    """``rng_key -> w`` with w ~ InverseGamma(shape, 1)."""
    return lambda key: 1 / jax.random.gamma(key, shape, size)


def conjugate_schools() -> Transition:
    blocks = [
        GibbsBlock(inverse_gamma_noise((NU0 + S + 1) / 2, ()), update_tausq),
        GibbsBlock(jax.random.normal, update_mu),
        GibbsBlock(lambda key: jax.random.normal(key, (S,)), update_theta),
        GibbsBlock(inverse_gamma_noise((ALPHA0 + N) / 2, (S,)), update_sigmasq),
    ]
    one, mean = jnp.ones(()), jnp.zeros(())
    return gibbs(blocks).at(
        {"tausq": one, "mu": mean, "theta": jnp.zeros(S), "sigmasq": jnp.ones(S)}
    )


def start(rng_key: Any, num_sweeps: int = 3) -> dict[str, Any]:
    """A draw from normals and chi-squares of the prior's scale, moved by a few sweeps.

    The prior itself has shapes of 0.05, whose inverse-gamma draws overflow.
    """
    transition = conjugate_schools()
    keys = jax.random.split(rng_key, 5)
    tausq = TAUSQ0 / jax.random.chisquare(keys[0], 1.0)
    mu = MU0 + jnp.sqrt(tausq / KAPPA0) * jax.random.normal(keys[1])
    theta = mu + jnp.sqrt(tausq) * jax.random.normal(keys[2], (S,))
    sigmasq = SIGMASQ0 / jax.random.chisquare(keys[3], 1.0, (S,))
    state = transition.init({"tausq": tausq, "mu": mu, "theta": theta, "sigmasq": sigmasq})
    for noise in range(num_sweeps):
        inputs = transition.draw_inputs(jax.random.fold_in(keys[4], noise)[None], state)
        state, _ = transition.step(state, jax.tree.map(lambda leaf: leaf[0], inputs))
    return state.position
