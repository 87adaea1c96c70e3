"""NumPyro models of twelve posteriors of posteriordb, and how a run compares with the reference.

The data, the statements of the models and the summaries of reference draws are read from a folder
that is not part of this repository. An entry of `MODELS` is one posterior: a model of its data,
with a site, sampled or deterministic, for each name that the reference has.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size
from numpyro.distributions import constraints

from benchmarks.measure import Options


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
    X = columns(
        1.0,
        jnp.log(diameters * data["canopy_height"]),
        jnp.log(diameters),
        jnp.log(data["diam1"] / data["diam2"]),
        jnp.log(data["total_height"]),
        jnp.log(data["density"]),
        data["group"],
    )
    normal_regression(X, jnp.log(data["weight"]))


def election(data):
    age = data["age_discrete"]
    X = columns(
        1.0, data["real_ideo"], data["race_adj"], age == 2, age == 3, age == 4,
        data["educ1"], data["gender"], data["income"],
    )  # fmt: skip
    normal_regression(X, data["partyid7"])


def bayesian_regression(data):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([data["D"]]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(data["X"] @ beta, sigma), obs=data["y"])


MODELS: dict[str, Callable] = {
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


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def load(folder: Path, name: str) -> dict[str, Any]:
    """A posterior's file, with data as arrays of floating-point numbers."""
    posterior = read(folder / f"{name}.json")
    posterior["data"] = {
        key: jnp.asarray(value, float) if isinstance(value, list) else value
        for key, value in posterior["data"].items()
    }
    return posterior


def scalars(samples: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Draws by the names of the reference: ``beta[1]`` is the first entry of ``beta``."""
    for name, draws in samples.items():
        draws = np.asarray(draws)
        if draws.ndim == 2:
            yield name, draws
        else:
            draws = draws.reshape(*draws.shape[:2], -1)
            for i in range(draws.shape[-1]):
                yield f"{name}[{i + 1}]", draws[..., i]


class Errors(NamedTuple):
    """Of the worst scalar.

    Attributes:
        z_score: largest |mean - reference| in combined Monte Carlo standard errors.
        sd_error: largest relative difference of a standard deviation.
        min_ess: smallest effective sample size.
    """

    z_score: float
    sd_error: float
    min_ess: float


def against_reference(reference: dict[str, Any], draws: dict[str, np.ndarray]) -> Errors:
    """Draws ``(chains, draws)`` by name against the summaries of reference draws."""
    z_scores, sd_errors, sizes = [], [], []
    for name, known in reference.items():
        size = effective_sample_size(draws[name])
        error = np.hypot(draws[name].std() / np.sqrt(size), known["mcse_mean"])
        z_scores.append(abs(draws[name].mean() - known["mean"]) / error)
        sd_errors.append(abs(draws[name].std() / known["sd"] - 1))
        sizes.append(size)
    return Errors(float(np.max(z_scores)), float(np.max(sd_errors)), float(np.min(sizes)))


def posteriors(options: Options) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those that are selected and in the folder beside the data, by name."""
    for name, file in files(options.data.parent / "posteriordb", MODELS, options):
        yield name, load(file.parent, name)


def files(folder: Path, names: Iterable[str], options: Options) -> Iterator[tuple[str, Path]]:
    """Of the names that are selected; those that are not there are told of."""
    for name in names:
        file = folder / f"{name}.json"
        if options.selected(name):
            if file.is_file():
                yield name, file
            else:
                print(f"{name}: skipped, it is not in {folder}; give --data", flush=True)
