"""NumPyro models of twelve posteriors of posteriordb.

An entry of `POSTERIORDB` is a model of the data of one posterior, with a site, sampled or
deterministic, for each name that the reference has.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints


def flat(name: str, *shape: int, support: Any = constraints.real) -> Any:
    """A parameter with a constant, improper prior."""
    if support is constraints.real and shape:
        support = constraints.real_vector
    return numpyro.sample(name, dist.ImproperUniform(support, (), shape))


def normal_regression(X: Any, y: Any) -> None:
    """Flat priors on the coefficients and on the scale itself."""
    beta = flat("beta", X.shape[1])
    sigma = flat("sigma", support=constraints.positive)
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def columns(*columns: Any) -> Any:
    return jnp.stack(jnp.broadcast_arrays(*columns), axis=-1)


def arma(data):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    phi = numpyro.sample("phi", dist.Normal(0, 2))
    theta = numpyro.sample("theta", dist.Normal(0, 2))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    y = data["y"]
    first = y[0] - (mu + phi * mu)

    def step(error, pair):
        before, now = pair
        error = now - (mu + phi * before + theta * error)
        return error, error

    _, errors = jax.lax.scan(step, first, (y[:-1], y[1:]))
    errors = jnp.concatenate([first[None], errors])
    numpyro.factor("errors", dist.Normal(0, sigma).log_prob(errors).sum())


def hidden_markov(data):
    alpha = data["alpha"]
    theta = jnp.stack([numpyro.sample(f"theta{j + 1}", dist.Dirichlet(alpha[j])) for j in range(2)])
    rates = []
    for name in ("phi", "lambda"):
        rate = flat(name, 2, support=constraints.positive_ordered_vector)
        numpyro.factor(
            f"prior of {name}", dist.Normal(jnp.array([0.0, 3.0]), 1).log_prob(rate).sum()
        )
        rates.append(rate)
    phi, lambda_ = rates
    emission = (
        jnp.log(phi) - phi * data["u"][:, None] + jnp.log(lambda_) - lambda_ * data["v"][:, None]
    )

    def step(alpha, emission):
        alpha = emission + jax.nn.logsumexp(alpha[:, None] + jnp.log(theta), axis=0)
        return alpha, None

    alpha, _ = jax.lax.scan(step, emission[0], emission[1:])
    numpyro.factor("likelihood", jax.nn.logsumexp(alpha))


def earnings(data):
    normal_regression(columns(1.0, data["height"]), data["earn"])


def log_earnings(data):
    X = columns(1.0, jnp.log(data["height"]), data["male"])
    normal_regression(X, jnp.log(data["earn"]))


def eight_schools(data):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    eta = numpyro.sample("theta_trans", dist.Normal(0, 1).expand([data["J"]]))
    theta = numpyro.deterministic("theta", mu + tau * eta)
    numpyro.sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def poisson_process(data):
    x = data["x"]
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    f_tilde = numpyro.sample("f_tilde", dist.Normal(0, 1).expand([x.size]))
    C = alpha**2 * jnp.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + 1e-10 * jnp.eye(x.size)
    f = numpyro.deterministic("f", jnp.linalg.cholesky(C) @ f_tilde)
    numpyro.sample("k", dist.Poisson(jnp.exp(f)), obs=data["k"].astype(int))


def kid_scores(data):
    beta = flat("beta", 3)
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    X = columns(1.0, data["mom_hs"], data["mom_iq"])
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=data["kid_score"])


def kilpisjarvi(data):
    alpha = numpyro.sample("alpha", dist.Normal(data["pmualpha"], data["psalpha"]))
    beta = numpyro.sample("beta", dist.Normal(data["pmubeta"], data["psbeta"]))
    sigma = flat("sigma", support=constraints.positive)
    numpyro.sample("y", dist.Normal(alpha + beta * data["x"], sigma), obs=data["y"])


def mixture(data):
    mu = flat("mu", 2, support=constraints.ordered_vector)
    numpyro.factor("prior of mu", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]))
    theta = numpyro.sample("theta", dist.Beta(5, 5))
    weights = jnp.log(jnp.stack([theta, 1 - theta]))
    terms = weights + dist.Normal(mu, sigma).log_prob(data["y"][:, None])
    numpyro.factor("likelihood", jax.nn.logsumexp(terms, axis=-1).sum())


def mesquite(data):
    diameters = data["diam1"] * data["diam2"]
    lengths = diameters * data["canopy_height"], diameters, data["diam1"] / data["diam2"]
    logs = map(jnp.log, (*lengths, data["total_height"], data["density"]))
    normal_regression(columns(1.0, *logs, data["group"]), jnp.log(data["weight"]))


def election(data):
    ages = (data["age_discrete"] == age for age in (2, 3, 4))
    before, after = ("real_ideo", "race_adj"), ("educ1", "gender", "income")
    X = columns(1.0, *map(data.get, before), *ages, *map(data.get, after))
    normal_regression(X, data["partyid7"])


def bayesian_regression(data):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([data["D"]]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(data["X"] @ beta, sigma), obs=data["y"])


POSTERIORDB: dict[str, Callable] = {
    "arma-arma11": arma,
    "bball_drive_event_0-hmm_drive_0": hidden_markov,
    "earnings-earn_height": earnings,
    "earnings-logearn_logheight_male": log_earnings,
    "eight_schools-eight_schools_noncentered": eight_schools,
    "gp_pois_regr-gp_pois_regr": poisson_process,
    "kidiq-kidscore_momhsiq": kid_scores,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi,
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
    "mesquite-logmesquite_logvas": mesquite,
    "nes2000-nes": election,
    "sblrc-blr": bayesian_regression,
}
