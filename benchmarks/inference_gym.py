"""NumPyro models of posteriors of Inference Gym, made to compare samplers for accelerators."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist


def brownian_motion(data: dict[str, Any], _: Path) -> tuple[Callable, tuple]:
    y = np.array([np.nan if value is None else value for value in data["y"]])
    seen = np.flatnonzero(np.isfinite(y))

    def model(seen, y):
        inner = numpyro.sample("innovation_noise_scale", dist.LogNormal(0, 2))
        outer = numpyro.sample("observation_noise_scale", dist.LogNormal(0, 2))
        locs = numpyro.sample("locs", dist.GaussianRandomWalk(inner, num_steps=30))
        numpyro.sample("y", dist.Normal(locs[seen], outer), obs=y)

    return model, (seen, y[seen])


def german_credit_sparse(data: dict[str, Any], folder: Path) -> tuple[Callable, tuple]:
    table = np.loadtxt(folder / data["file"])
    X = (table[:, :24] - table[:, :24].mean(axis=0)) / table[:, :24].std(axis=0)
    X = np.column_stack([X, np.ones(len(X))])

    def model(X, label):
        z = numpyro.sample("unscaled_weights", dist.Normal(0, 1).expand([X.shape[1]]))
        local = numpyro.sample("local_scales", dist.Gamma(0.5, 0.5).expand([X.shape[1]]))
        overall = numpyro.sample("global_scale", dist.Gamma(0.5, 0.5))
        numpyro.sample("label", dist.Bernoulli(logits=X @ (z * local * overall)), obs=label)

    return model, (X, (table[:, -1] == 2).astype(int))


def item_response(data: dict[str, Any], _: Path) -> tuple[Callable, tuple]:
    student, question, correct = (np.asarray(data[k]) for k in ("student", "question", "correct"))
    asked, answers = np.zeros((400, 100), bool), np.zeros((400, 100), int)
    asked[student, question], answers[student, question] = True, correct

    def model(asked, answers):
        mean = numpyro.sample("mean_student_ability", dist.Normal(0.75, 1))
        ability = numpyro.sample("centered_student_ability", dist.Normal(0, 1).expand([400]))
        difficulty = numpyro.sample("question_difficulty", dist.Normal(0, 1).expand([100]))
        logits = mean + ability[:, None] - difficulty
        numpyro.sample("correct", dist.Bernoulli(logits=logits).mask(asked), obs=answers)

    return model, (asked, answers)


def volatility_of_returns(data: dict[str, Any], _: Path) -> tuple[Callable, tuple]:
    """Not centred: the log volatility is made from standard normal innovations."""

    def model(returns):
        half = numpyro.sample("half", dist.Beta(20, 1.5))
        persistence = numpyro.deterministic("persistence_of_volatility", 2 * half - 1)
        mean = numpyro.sample("mean_log_volatility", dist.Cauchy(0, 5))
        scale = numpyro.sample("white_noise_shock_scale", dist.HalfCauchy(2))
        shocks = scale * numpyro.sample("shocks", dist.Normal(0, 1).expand([returns.size]))
        shocks = shocks.at[0].divide(jnp.sqrt(1 - persistence**2))

        def then(before, after):  # h_t = persistence h_{t-1} + shock_t, of two stretches of time
            return before[0] * after[0], after[0] * before[1] + after[1]

        maps = jnp.full(returns.size, persistence), shocks
        around_mean = jax.lax.associative_scan(then, maps)[1]
        h = numpyro.deterministic("log_volatility", mean + around_mean)
        numpyro.sample("returns", dist.Normal(0, jnp.exp(h / 2)), obs=returns)

    return model, (np.asarray(data["centered_returns"]),)


INFERENCE_GYM: dict[str, Callable[[dict[str, Any], Path], tuple[Callable, tuple]]] = {
    "brownian_motion": brownian_motion,
    "german_credit_sparse": german_credit_sparse,
    "item_response": item_response,
    "stochastic_volatility": volatility_of_returns,
    "stochastic_volatility_small": volatility_of_returns,
}
"""By the name of the file."""
