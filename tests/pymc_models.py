"""PyMC models, each with data of a fixed seed; imported where PyMC is installed."""

import numpy as np
import pymc


def eight_schools():
    """Not centred, with dims."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    with pymc.Model(coords={"school": list("ABCDEFGH")}) as model:
        sigma = pymc.Data("sigma", np.array([15.0, 10, 16, 11, 9, 11, 10, 18]), dims="school")
        mu = pymc.Normal("mu", 0, 5)
        tau = pymc.HalfCauchy("tau", 5)
        z = pymc.Normal("z", dims="school")
        theta = pymc.Deterministic("theta", mu + tau * z, dims="school")
        pymc.Normal("obs", theta, sigma, observed=y, dims="school")
    return model


def logistic():
    """A GLM with coords for its predictors and its rows."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 3))
    y = rng.random(60) < 1 / (1 + np.exp(-x @ [1.0, -0.5, 0.0] - 0.3))
    with pymc.Model(coords={"predictor": ["a", "b", "c"], "row": np.arange(60)}) as model:
        data = pymc.Data("x", x, dims=("row", "predictor"))
        intercept = pymc.Normal("intercept", 0, 2)
        slope = pymc.Normal("slope", 0, 1, dims="predictor")
        p = pymc.Deterministic("p", pymc.math.invlogit(intercept + data @ slope), dims="row")
        pymc.Bernoulli("y", p=p, observed=y.astype(int), dims="row")
    return model


def hierarchical():
    """Intercepts and slopes that are correlated over groups, with a Cholesky factor and corr."""
    rng = np.random.default_rng(2)
    group, x = np.repeat(np.arange(8), 12), rng.normal(size=96)
    y = rng.normal(1, 0.7, 8)[group] + rng.normal(0.5, 0.4, 8)[group] * x + rng.normal(0, 0.5, 96)
    with pymc.Model(coords={"group": list("abcdefgh"), "effect": ["level", "slope"]}) as model:
        spread = pymc.HalfNormal.dist(1, size=2)
        chol, _, _ = pymc.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=spread)
        mean = pymc.Normal("mean", 0, 1, dims="effect")
        z = pymc.Normal("z", dims=("group", "effect"))
        effects = pymc.Deterministic("effects", mean + z @ chol.T, dims=("group", "effect"))
        noise = pymc.HalfNormal("noise", 1)
        pymc.Normal("y", effects[group, 0] + effects[group, 1] * x, noise, observed=y)
    return model


def gaussian_process():
    """Its latent function integrated out."""
    rng = np.random.default_rng(3)
    x = np.linspace(0, 1, 20)
    y = np.sin(6 * x) + rng.normal(0, 0.2, 20)
    with pymc.Model() as model:
        length = pymc.InverseGamma("length", 5, 1)
        amplitude = pymc.HalfNormal("amplitude", 1)
        noise = pymc.HalfNormal("noise", 0.5)
        process = pymc.gp.Marginal(cov_func=amplitude**2 * pymc.gp.cov.ExpQuad(1, length))
        process.marginal_likelihood("y", X=x[:, None], y=y, sigma=noise)
    return model


def mixture():
    """Of two normals, their labels summed out and their means in order."""
    rng = np.random.default_rng(4)
    y = np.where(rng.random(100) < 0.4, rng.normal(-2, 0.5, 100), rng.normal(1.5, 0.8, 100))
    ordered = pymc.distributions.transforms.ordered
    with pymc.Model(coords={"component": ["low", "high"]}) as model:
        weight = pymc.Dirichlet("weight", np.full(2, 4.0), dims="component")
        loc = pymc.Normal("loc", 0, 3, transform=ordered, initval=[-1, 1], dims="component")
        scale = pymc.HalfNormal("scale", 1, dims="component")
        pymc.NormalMixture("y", w=weight, mu=loc, sigma=scale, observed=y)
    return model


def missing():
    """A value of the data is missing, and a potential binds two variables."""
    y = np.ma.masked_invalid([1.0, np.nan, 2.0])
    with pymc.Model() as model:
        a = pymc.Normal("a", 0, 1)
        b = pymc.Beta("b", 2, 3)
        pymc.Potential("near", -((a - b) ** 2))
        pymc.StudentT("y", nu=4, mu=a, sigma=1, observed=y)
    return model


MODELS = [eight_schools, logistic, hierarchical, gaussian_process, mixture]
