"""Models that NumPyro users run, small, with data that are simulated or were published.

They follow what the examples of NumPyro's documentation model, and are written as users write them:
with enumerated sites, loops, LKJ priors, constraints, and scales that were not thought about.
`user_data` has the arguments of each.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.experimental.ode import odeint
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

from benchmarks import user_data

sample = numpyro.sample


def baseball(at_bats, hits):
    mean = sample("mean", dist.Uniform(0, 1))
    size = sample("size", dist.Pareto(1, 1.5))
    with numpyro.plate("players", hits.size):
        chance = sample("chance", dist.Beta(mean * size, (1 - mean) * size))
        sample("hits", dist.Binomial(at_bats, probs=chance), obs=hits)


def baseball_logits(at_bats, hits):
    mean = sample("mean", dist.Normal(-1, 1))
    scale = sample("scale", dist.HalfCauchy(1))
    with numpyro.plate("players", hits.size):
        logit = sample("logit", dist.Normal(mean, scale))
        sample("hits", dist.Binomial(at_bats, logits=logit), obs=hits)


def admissions(department, male, applied, admitted):
    """Varying slopes, not centred."""
    mean = sample("mean", dist.Normal(0, jnp.array([4.0, 1.0])))
    scale = sample("scale", dist.HalfNormal(1).expand([2]))
    L = sample("correlation", dist.LKJCholesky(2, 2.0))
    z = sample("z", dist.Normal(0, 1).expand([6, 2]))
    v = mean + z @ (scale[:, None] * L).T
    logits = v[department, 0] + v[department, 1] * male
    sample("admitted", dist.Binomial(applied, logits=logits), obs=admitted)


def stochastic_volatility(returns):
    step = sample("step", dist.Exponential(50))
    walk = dist.GaussianRandomWalk(scale=step, num_steps=returns.size)
    log_volatility = sample("log_volatility", walk)
    nu = sample("nu", dist.Exponential(0.1))
    sample("returns", dist.StudentT(nu, 0, jnp.exp(log_volatility)), obs=returns)


def gaussian_process(x, y):
    names = "variance", "noise", "length"
    variance, noise, length = (sample(name, dist.LogNormal(0, 10)) for name in names)
    K = variance * jnp.exp(-(((x[:, None] - x) / length) ** 2) / 2)
    K = K + (noise + 1e-6) * jnp.eye(x.size)
    sample("y", dist.MultivariateNormal(jnp.zeros(x.size), K), obs=y)


def horseshoe(X, y):
    local = sample("local", dist.HalfCauchy(1).expand([X.shape[1]]))
    overall = sample("overall", dist.HalfCauchy(1))
    beta = sample("beta", dist.Normal(0, 1).expand([X.shape[1]]))
    precision = sample("precision", dist.Gamma(3, 1))
    sample("y", dist.Normal(X @ (overall * local * beta), precision**-0.5), obs=y)


def lotka_volterra(pelts):
    """An ordinary differential equation by an adaptive integrator."""

    def flow(z, _, theta):
        return jnp.stack([(theta[0] - theta[1] * z[1]) * z[0], (theta[3] * z[0] - theta[2]) * z[1]])

    start = sample("start", dist.LogNormal(jnp.log(10.0), 1).expand([2]))
    prior = dist.TruncatedNormal(jnp.array([1, 0.05, 1, 0.05]), jnp.array([0.2, 0.05] * 2), low=0)
    theta = sample("theta", prior)
    years = jnp.arange(float(len(pelts)))
    z = odeint(flow, start, years, theta, rtol=1e-6, atol=1e-5, mxstep=1_000)
    sigma = sample("sigma", dist.LogNormal(-1, 1).expand([2]))
    level = jnp.log(jnp.maximum(z, 1e-3))  # errors of the integrator may go below zero
    sample("pelts", dist.LogNormal(level, sigma), obs=pelts)


def epidemic(counts):
    beta = sample("beta", dist.LogNormal(0, 1))
    gamma = sample("gamma", dist.LogNormal(-1, 1))
    start = sample("start", dist.Beta(1, 100))
    dispersion = sample("dispersion", dist.Exponential(5))
    mean = 763 * user_data.infected(beta, gamma, start, len(counts)) + 1e-3
    sample("counts", dist.NegativeBinomial2(mean, 1 / dispersion), obs=counts)


def ordinal(X, y):
    beta = sample("beta", dist.Normal(0, 5).expand([2]))
    ordered = dist.transforms.OrderedTransform()
    cuts = dist.TransformedDistribution(dist.Normal(0, 1).expand([4]), ordered)
    sample("y", dist.OrderedLogistic(X @ beta, sample("cuts", cuts)), obs=y)


def random_slopes(group, x, y):
    """Correlated intercepts and slopes of twenty groups, centred."""
    mean = sample("mean", dist.Normal(0, 2).expand([2]))
    scale = sample("scale", dist.HalfNormal(1).expand([2]))
    L = sample("correlation", dist.LKJCholesky(2, 2.0))
    noise = sample("noise", dist.HalfNormal(1))
    with numpyro.plate("groups", 20):
        effects = sample("effects", dist.MultivariateNormal(mean, scale_tril=scale[:, None] * L))
    sample("y", dist.Normal(effects[group, 0] + effects[group, 1] * x, noise), obs=y)


def neural_network(X, y):
    """Two hidden layers of five; the draws compared are of the function, not of its weights."""
    shapes = {"w1": (3, 5), "w2": (5, 5), "w3": (5, 1)}
    w1, w2, w3 = (
        sample(name, dist.Normal(0, 1).expand(shape).to_event(2)) for name, shape in shapes.items()
    )
    mean = (jnp.tanh(jnp.tanh(X @ w1) @ w2) @ w3)[:, 0]
    numpyro.deterministic("function", mean[::6])
    precision = sample("precision", dist.Gamma(3, 1))
    sample("y", dist.Normal(mean, precision**-0.5), obs=y)


def enumerated_mixture(y):
    weights = sample("weights", dist.Dirichlet(jnp.ones(2)))
    ordered = dist.transforms.OrderedTransform()
    means = dist.TransformedDistribution(dist.Normal(0, 5).expand([2]), ordered)
    mean = sample("mean", means)
    scale = sample("scale", dist.LogNormal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("data", y.size):
        z = sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
        sample("y", dist.Normal(mean[z], scale[z]), obs=y)


def capture_recapture(seen):
    """Cormack, Jolly and Seber's model, with a hidden state per animal and year."""
    survival = sample("survival", dist.Uniform(0, 1))
    chance = sample("chance", dist.Uniform(0, 1))

    def year(carry, y):
        begun, alive = carry
        with numpyro.plate("animals", len(seen)), numpyro.handlers.mask(mask=begun):
            stays = jnp.where(begun, survival * alive, 1.0)
            lives = dist.Bernoulli(dist.util.clamp_probs(stays))
            alive = sample("alive", lives, infer={"enumerate": "parallel"})
            sample("seen", dist.Bernoulli(dist.util.clamp_probs(chance * alive)), obs=y)
        return (begun | (y == 1), alive), None

    first = seen[:, 0] == 1, jnp.ones(len(seen), int)
    scan(year, first, jnp.asarray(seen[:, 1:].T))


def holt_winters(y):
    names = "alpha", "beta", "gamma"
    alpha, beta, gamma = (sample(name, dist.Beta(1, 1)) for name in names)
    gamma = gamma * (1 - alpha)
    noise = sample("noise", dist.HalfNormal(1))
    level = sample("level", dist.Normal(0, 1))
    trend = sample("trend", dist.Normal(0, 1))
    season = sample("season", dist.Normal(0, 1).expand([12]))

    def month(carry, y):
        level, trend, season = carry
        error = y - level - trend - season[0]
        raised = alpha * (y - season[0]) + (1 - alpha) * (level + trend)
        slope = beta * (raised - level) + (1 - beta) * trend
        now = gamma * (y - level - trend) + (1 - gamma) * season[0]
        return (raised, slope, jnp.append(season[1:], now)), error

    _, errors = jax.lax.scan(month, (level, trend, season), y)
    numpyro.factor("errors", dist.Normal(0, noise).log_prob(errors).sum())


def radon(county, floor, y):
    """Varying intercepts of 85 counties, not centred by NumPyro's own reparameterisation."""
    mean = sample("mean", dist.Normal(0, 5))
    scale = sample("scale", dist.HalfCauchy(1))
    slope = sample("slope", dist.Normal(0, 2))
    noise = sample("noise", dist.HalfCauchy(2))
    not_centred = numpyro.handlers.reparam(config={"intercept": LocScaleReparam(0)})
    with numpyro.plate("counties", 85), not_centred:
        intercept = sample("intercept", dist.Normal(mean, scale))
    sample("y", dist.Normal(intercept[county] + slope * floor, noise), obs=y)


USER_MODELS: dict[str, Callable] = {
    model.__name__.replace("_", " "): model
    for model in (
        baseball, baseball_logits, admissions, stochastic_volatility, gaussian_process, horseshoe,
        lotka_volterra, epidemic, ordinal, random_slopes, neural_network, enumerated_mixture,
        capture_recapture, holt_winters, radon,
    )
}  # fmt: skip


def with_data(name: str) -> tuple[Callable, tuple]:
    """A model and its arguments."""
    return USER_MODELS[name], getattr(user_data, name.replace(" ", "_"))()
