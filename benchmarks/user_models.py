"""Models that NumPyro users run, small, with data that are simulated or were published.

Each entry of `USER_MODELS` makes a model and its arguments. They follow what the examples of
NumPyro's documentation model, and are written as users write them: with enumerated sites, loops,
LKJ priors, constraints, and scales that were not thought about.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.experimental.ode import odeint
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

Model = tuple[Callable, tuple]

AT_BATS = np.full(18, 45.0)
HITS = np.array([18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7.0])
"""Of eighteen players in 1970 (Efron and Morris 1975)."""


def baseball() -> Model:
    def model(at_bats, hits):
        mean = numpyro.sample("mean", dist.Uniform(0, 1))
        size = numpyro.sample("size", dist.Pareto(1, 1.5))
        with numpyro.plate("players", hits.size):
            chance = numpyro.sample("chance", dist.Beta(mean * size, (1 - mean) * size))
            numpyro.sample("hits", dist.Binomial(at_bats, probs=chance), obs=hits)

    return model, (AT_BATS, HITS)


def baseball_logits() -> Model:
    def model(at_bats, hits):
        mean = numpyro.sample("mean", dist.Normal(-1, 1))
        scale = numpyro.sample("scale", dist.HalfCauchy(1))
        with numpyro.plate("players", hits.size):
            logit = numpyro.sample("logit", dist.Normal(mean, scale))
            numpyro.sample("hits", dist.Binomial(at_bats, logits=logit), obs=hits)

    return model, (AT_BATS, HITS)


def admissions() -> Model:
    """Varying slopes of twelve published counts (Bickel et al. 1975), not centred."""
    department = np.repeat(np.arange(6), 2)
    male = np.tile([1.0, 0.0], 6)
    applied = np.array([825, 108, 560, 25, 325, 593, 417, 375, 191, 393, 373, 341.0])
    admitted = np.array([512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24.0])

    def model(department, male, applied, admitted):
        mean = numpyro.sample("mean", dist.Normal(0, jnp.array([4.0, 1.0])))
        scale = numpyro.sample("scale", dist.HalfNormal(1).expand([2]))
        L = numpyro.sample("correlation", dist.LKJCholesky(2, 2.0))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([6, 2]))
        v = mean + z @ (scale[:, None] * L).T
        logits = v[department, 0] + v[department, 1] * male
        numpyro.sample("admitted", dist.Binomial(applied, logits=logits), obs=admitted)

    return model, (department, male, applied, admitted)


def stochastic_volatility() -> Model:
    rng = np.random.default_rng(4)
    log_volatility = np.cumsum(0.1 * rng.normal(size=300)) - 4
    returns = np.exp(log_volatility) * rng.standard_t(8, size=300)

    def model(returns):
        step = numpyro.sample("step", dist.Exponential(50))
        walk = dist.GaussianRandomWalk(scale=step, num_steps=returns.size)
        log_volatility = numpyro.sample("log_volatility", walk)
        nu = numpyro.sample("nu", dist.Exponential(0.1))
        numpyro.sample("returns", dist.StudentT(nu, 0, jnp.exp(log_volatility)), obs=returns)

    return model, (returns,)


def gaussian_process() -> Model:
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 30)
    y = x + np.sin(4 * x) * (0.5 + x) ** 2 / 2 + 0.15 * rng.normal(size=30)

    def model(x, y):
        variance, noise, length = (
            numpyro.sample(name, dist.LogNormal(0, 10)) for name in ("variance", "noise", "length")
        )
        K = variance * jnp.exp(-(((x[:, None] - x) / length) ** 2) / 2)
        K = K + (noise + 1e-6) * jnp.eye(x.size)
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(x.size), K), obs=y)

    return model, (x, (y - y.mean()) / y.std())


def horseshoe() -> Model:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(50, 32))
    y = X[:, :3] @ [1, -1.5, 0.8] + 0.3 * rng.normal(size=50)

    def model(X, y):
        local = numpyro.sample("local", dist.HalfCauchy(1).expand([X.shape[1]]))
        overall = numpyro.sample("overall", dist.HalfCauchy(1))
        beta = numpyro.sample("beta", dist.Normal(0, 1).expand([X.shape[1]]))
        precision = numpyro.sample("precision", dist.Gamma(3, 1))
        mean = X @ (overall * local * beta)
        numpyro.sample("y", dist.Normal(mean, precision**-0.5), obs=y)

    return model, (X, y)


HARES = [
    30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5, 11.2,
    7.6, 14.6, 16.2, 24.7,
]  # fmt: skip
LYNXES = [
    4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8,
    9.7, 10.1, 8.6,
]  # fmt: skip
"""Pelts in thousands, 1900 to 1920, of the Hudson's Bay Company."""


def lotka_volterra() -> Model:
    """An ordinary differential equation by an adaptive integrator."""

    def flow(z, _, theta):
        return jnp.stack([(theta[0] - theta[1] * z[1]) * z[0], (theta[3] * z[0] - theta[2]) * z[1]])

    def model(pelts):
        start = numpyro.sample("start", dist.LogNormal(jnp.log(10.0), 1).expand([2]))
        prior = dist.TruncatedNormal(
            jnp.array([1, 0.05, 1, 0.05]), jnp.array([0.2, 0.05] * 2), low=0
        )
        theta = numpyro.sample("theta", prior)
        years = jnp.arange(float(len(pelts)))
        z = odeint(flow, start, years, theta, rtol=1e-6, atol=1e-5, mxstep=1_000)
        sigma = numpyro.sample("sigma", dist.LogNormal(-1, 1).expand([2]))
        level = jnp.log(jnp.maximum(z, 1e-3))  # errors of the integrator may go below zero
        numpyro.sample("pelts", dist.LogNormal(level, sigma), obs=pelts)

    return model, (np.stack([HARES, LYNXES], axis=-1),)


def infected(beta: Any, gamma: Any, start: Any, days: int) -> Any:
    """Of an epidemic, by four Runge-Kutta steps of a quarter of a day."""

    def flow(z):
        new = beta * z[0] * z[1]
        return jnp.stack([-new, new - gamma * z[1]])

    def quarter(z, _):
        h = 0.25
        k1 = flow(z)
        k2 = flow(z + h / 2 * k1)
        k3 = flow(z + h / 2 * k2)
        k4 = flow(z + h * k3)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    def day(z, _):
        z, _ = jax.lax.scan(quarter, z, None, length=4)
        return z, z[1]

    return jax.lax.scan(day, jnp.stack([1 - start, start]), None, length=days)[1]


def epidemic() -> Model:
    rng = np.random.default_rng(7)
    counts = rng.poisson(763 * np.asarray(infected(0.6, 0.25, 0.005, 30)))

    def model(counts):
        beta = numpyro.sample("beta", dist.LogNormal(0, 1))
        gamma = numpyro.sample("gamma", dist.LogNormal(-1, 1))
        start = numpyro.sample("start", dist.Beta(1, 100))
        dispersion = numpyro.sample("dispersion", dist.Exponential(5))
        mean = 763 * infected(beta, gamma, start, len(counts)) + 1e-3
        numpyro.sample("counts", dist.NegativeBinomial2(mean, 1 / dispersion), obs=counts)

    return model, (counts,)


def ordinal() -> Model:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(200, 2))
    y = np.digitize(X @ [1, -0.5] + rng.logistic(size=200), [-1.5, 0, 1, 2.5])

    def model(X, y):
        beta = numpyro.sample("beta", dist.Normal(0, 5).expand([2]))
        ordered = dist.transforms.OrderedTransform()
        cuts = dist.TransformedDistribution(dist.Normal(0, 1).expand([4]), ordered)
        numpyro.sample("y", dist.OrderedLogistic(X @ beta, numpyro.sample("cuts", cuts)), obs=y)

    return model, (X, y)


def random_slopes() -> Model:
    """Correlated intercepts and slopes of twenty groups, centred."""
    rng = np.random.default_rng(9)
    group = np.repeat(np.arange(20), 10)
    x = rng.normal(size=200)
    effects = rng.multivariate_normal([1, 0.5], [[0.5, 0.2], [0.2, 0.3]], 20)[group]
    y = effects[:, 0] + effects[:, 1] * x + 0.5 * rng.normal(size=200)

    def model(group, x, y):
        mean = numpyro.sample("mean", dist.Normal(0, 2).expand([2]))
        scale = numpyro.sample("scale", dist.HalfNormal(1).expand([2]))
        L = numpyro.sample("correlation", dist.LKJCholesky(2, 2.0))
        noise = numpyro.sample("noise", dist.HalfNormal(1))
        with numpyro.plate("groups", 20):
            prior = dist.MultivariateNormal(mean, scale_tril=scale[:, None] * L)
            effects = numpyro.sample("effects", prior)
        numpyro.sample("y", dist.Normal(effects[group, 0] + effects[group, 1] * x, noise), obs=y)

    return model, (group, x, y)


def neural_network() -> Model:
    """Two hidden layers of five; the draws compared are of the function, not of its weights."""
    rng = np.random.default_rng(10)
    X = np.linspace(-1, 1, 60)[:, None] ** np.arange(3)
    y = X @ [0.3, 0.5, -0.4] + 0.5 * np.sin(4 * X[:, 1]) + 0.05 * rng.normal(size=60)

    def model(X, y):
        shapes = {"w1": (3, 5), "w2": (5, 5), "w3": (5, 1)}
        w1, w2, w3 = (
            numpyro.sample(name, dist.Normal(0, 1).expand(shape).to_event(2))
            for name, shape in shapes.items()
        )
        mean = (jnp.tanh(jnp.tanh(X @ w1) @ w2) @ w3)[:, 0]
        numpyro.deterministic("function", mean[::6])
        precision = numpyro.sample("precision", dist.Gamma(3, 1))
        numpyro.sample("y", dist.Normal(mean, precision**-0.5), obs=y)

    return model, (X, (y - y.mean()) / y.std())


def enumerated_mixture() -> Model:
    rng = np.random.default_rng(11)
    y = np.concatenate([rng.normal(-2, 1, 80), rng.normal(2.5, 0.7, 50)])

    def model(y):
        weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
        ordered = dist.transforms.OrderedTransform()
        means = dist.TransformedDistribution(dist.Normal(0, 5).expand([2]), ordered)
        mean = numpyro.sample("mean", means)
        scale = numpyro.sample("scale", dist.LogNormal(0, 1).expand([2]).to_event(1))
        with numpyro.plate("data", y.size):
            z = numpyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
            numpyro.sample("y", dist.Normal(mean[z], scale[z]), obs=y)

    return model, (y,)


def capture_recapture() -> Model:
    """Cormack, Jolly and Seber's model, with a hidden state per animal and year."""
    rng = np.random.default_rng(12)
    seen = np.zeros((60, 7), np.int32)
    for animal in seen:
        first = rng.integers(0, 6)
        alive = np.arange(7) < first + rng.geometric(0.3)
        animal[:] = alive & (np.arange(7) > first) & (rng.random(7) < 0.6)
        animal[first] = 1

    def model(seen):
        survival = numpyro.sample("survival", dist.Uniform(0, 1))
        chance = numpyro.sample("chance", dist.Uniform(0, 1))

        def year(carry, y):
            begun, alive = carry
            with numpyro.plate("animals", len(seen)), numpyro.handlers.mask(mask=begun):
                stays = jnp.where(begun, survival * alive, 1.0)
                lives = dist.Bernoulli(dist.util.clamp_probs(stays))
                alive = numpyro.sample("alive", lives, infer={"enumerate": "parallel"})
                found = dist.Bernoulli(dist.util.clamp_probs(chance * alive))
                numpyro.sample("seen", found, obs=y)
            return (begun | (y == 1), alive), None

        first = seen[:, 0] == 1, jnp.ones(len(seen), int)
        scan(year, first, jnp.asarray(seen[:, 1:].T))

    return model, (seen,)


def holt_winters() -> Model:
    rng = np.random.default_rng(13)
    t = np.arange(120)
    y = 0.05 * t + np.sin(2 * np.pi * t / 12) + 0.2 * rng.normal(size=120)

    def model(y):
        alpha, beta, gamma = (
            numpyro.sample(name, dist.Beta(1, 1)) for name in ("alpha", "beta", "gamma")
        )
        gamma = gamma * (1 - alpha)
        noise = numpyro.sample("noise", dist.HalfNormal(1))
        level = numpyro.sample("level", dist.Normal(0, 1))
        trend = numpyro.sample("trend", dist.Normal(0, 1))
        season = numpyro.sample("season", dist.Normal(0, 1).expand([12]))

        def month(carry, y):
            level, trend, season = carry
            error = y - level - trend - season[0]
            raised = alpha * (y - season[0]) + (1 - alpha) * (level + trend)
            slope = beta * (raised - level) + (1 - beta) * trend
            now = gamma * (y - level - trend) + (1 - gamma) * season[0]
            return (raised, slope, jnp.append(season[1:], now)), error

        _, errors = jax.lax.scan(month, (level, trend, season), y)
        numpyro.factor("errors", dist.Normal(0, noise).log_prob(errors).sum())

    return model, ((y - y.mean()) / y.std(),)


def radon() -> Model:
    """Varying intercepts of 85 counties, not centred by NumPyro's own reparameterisation."""
    rng = np.random.default_rng(14)
    county = rng.integers(0, 85, 600)
    floor = rng.integers(0, 2, 600).astype(float)
    y = (1.5 + 0.3 * rng.normal(size=85))[county] - 0.7 * floor + 0.75 * rng.normal(size=600)

    @numpyro.handlers.reparam(config={"intercept": LocScaleReparam(0)})
    def model(county, floor, y):
        mean = numpyro.sample("mean", dist.Normal(0, 5))
        scale = numpyro.sample("scale", dist.HalfCauchy(1))
        slope = numpyro.sample("slope", dist.Normal(0, 2))
        noise = numpyro.sample("noise", dist.HalfCauchy(2))
        with numpyro.plate("counties", 85):
            intercept = numpyro.sample("intercept", dist.Normal(mean, scale))
        numpyro.sample("y", dist.Normal(intercept[county] + slope * floor, noise), obs=y)

    return model, (county, floor, y)


USER_MODELS: dict[str, Callable[[], Model]] = {
    model.__name__.replace("_", " "): model
    for model in (
        baseball, baseball_logits, admissions, stochastic_volatility, gaussian_process, horseshoe,
        lotka_volterra, epidemic, ordinal, random_slopes, neural_network, enumerated_mixture,
        capture_recapture, holt_winters, radon,
    )
}  # fmt: skip
