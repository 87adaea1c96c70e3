"""Arguments of a model that are no arrays: left alone, and old data are not handed out."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro_runs import CLASSES

import parallel_mcmc as pm

WAYS = [
    ("pm", "sequential"),
    ("numpyro", "vectorized"),
    pytest.param("pm", "vectorized", marks=pytest.mark.slow),
    pytest.param("numpyro", "sequential", marks=pytest.mark.slow),
]


def model(table):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=jnp.asarray(np.asarray(table["y"])))


def sampler(cls, method):
    # The posterior has a standard deviation of 0.1, and each step goes half the way to its mean.
    kernel = pm.ParallelMALA(model, step_size=0.005, solver=pm.sequential(), window=30)
    return CLASSES[cls](
        kernel, num_warmup=0, num_samples=45, num_chains=2, chain_method=method,
        progress_bar=False,
    )  # fmt: skip


def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"y": np.zeros(100), "name": [f"row {i}" for i in range(100)]})


def means(mcmc):
    """Of each chain, without the way to the posterior."""
    return np.asarray(mcmc.get_samples(group_by_chain=True)["mu"])[:, 15:].mean(1)


@pytest.mark.parametrize("cls, method", WAYS)
def test_a_data_frame_that_was_changed_in_place_is_new_data(cls, method):
    data = frame()
    mcmc = sampler(cls, method)
    mcmc.run(jax.random.key(0), data)
    # Within four standard errors of 30 draws, of which three say as much as one by itself.
    np.testing.assert_allclose(means(mcmc), 0, atol=0.13)
    kept = len(mcmc._cache)
    data.loc[10:89, "y"] = 5.0  # what a frame shows of itself stays the same
    mcmc.run(jax.random.key(0), data)
    np.testing.assert_allclose(means(mcmc), 4, atol=0.13)
    assert len(mcmc._cache) == kept  # programs with opaque data are not collected


@pytest.mark.parametrize("cls, method", WAYS)
def test_a_frame_changed_in_the_middle_of_a_window_is_new_data(cls, method):
    data = frame()
    mcmc = sampler(cls, method)  # of two windows of 30, 45 draws
    mcmc.run(jax.random.key(0), data)
    data.loc[10:89, "y"] = 5.0
    mcmc.post_warmup_state = mcmc.last_state
    mcmc.run(mcmc.last_state.rng_key, data)
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["mu"])
    assert np.all(draws[:, 10:15] > 3)  # which were solved for, with the old data


@pytest.mark.parametrize("cls, method", WAYS)
def test_a_dataset_of_xarray_is_an_argument_like_others(cls, method):
    xarray = pytest.importorskip("xarray")
    mcmc = sampler(cls, method)
    mcmc.run(jax.random.key(0), xarray.Dataset({"y": ("row", np.full(100, 2.0))}))
    np.testing.assert_allclose(means(mcmc), 2, atol=0.13)


class Rows:
    """A lazy table: it counts how often it is read."""

    def __init__(self, y):
        self.y, self.reads = y, []

    def __len__(self):
        return 10_000

    def __getitem__(self, item):
        self.reads.append(item)
        if item != "y":
            raise IndexError(item)
        return self.y


@pytest.mark.parametrize("cls", CLASSES)
def test_a_lazy_sequence_is_read_by_the_model_alone(cls):
    rows = Rows(np.zeros(100))
    sampler(cls, "vectorized").run(jax.random.key(0), rows)
    assert set(rows.reads) == {"y"}
