"""Trajectories that are divided: what is measured for it, and chains of draws of several steps."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pm
from parallel_mcmc._mcmc.division import DIVISIONS, growth_of, highest_rise, log_growth

KEY = jax.random.key(0)


def cross():
    """Two ridges that cross: over a quarter period perturbations grow."""
    x = numpyro.sample("x", dist.Normal(0, 2**0.5).expand([2]))
    numpyro.factor("ridges", -2 * x[0] ** 2 * x[1] ** 2)


def plain():
    numpyro.sample("x", dist.Normal(0, 1).expand([2]))


def run(model, solver, thinning="auto", method="vectorized", num_samples=300, **options):
    mcmc = pm.MCMC(
        pm.ParallelHMC(model, solver=solver), num_warmup=500, num_samples=num_samples,
        num_chains=2, thinning=thinning, chain_method=method, progress_bar=False, **options,
    )  # fmt: skip
    mcmc.run(KEY, extra_fields=("i", "trajectory_length"))
    return mcmc


@functools.cache
def divided(name="deer"):
    return run(cross, getattr(pm, name)())


def draws(mcmc):
    return np.asarray(mcmc.get_samples(group_by_chain=True)["x"])


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_the_growth_of_a_normal_posterior_is_that_of_its_trajectory(jitter):
    """A trajectory of length L takes a perturbation to cos(L) times itself."""
    x = jax.random.normal(KEY, (64, 1))
    grown = log_growth(
        lambda x: -jnp.sum(x**2) / 2, KEY, x, jnp.asarray(0.05), jnp.ones(1), jnp.asarray(24),
        jitter,
    )  # fmt: skip
    lengths = 1.2 * np.linspace(1 - jitter, 1 + jitter, 1_001)
    expected = np.log(np.abs(np.cos(lengths)))  # on average -1.02 without jitter, -1.28 with it
    error = np.std(expected) / np.sqrt(np.size(grown))
    assert np.mean(grown) == pytest.approx(np.mean(expected), abs=0.02 + 4 * error)


@pytest.mark.parametrize("jitter, least, most", [(0.0, -0.08, 0.0), (0.3, -0.25, -0.1)])
def test_helpers_measure_with_the_jitter_of_the_kernel(jitter, least, most):
    """Over half a period nothing is forgotten without, and on average 0.16 nats with it."""
    kernel = pm.ParallelHMC(
        plain, trajectory_length=np.pi, solver=pm.auto("gpu"), step_size_jitter=jitter
    )
    mcmc = pm.MCMC(kernel, num_warmup=500, num_samples=4, progress_bar=False)
    mcmc.warmup(KEY)
    assert least < mcmc.post_warmup_state.warmup.growth.exponent.value < most


@pytest.mark.parametrize("rate, sd", [(0.1, 0.3), (0.05, 0.4), (0.3, 0.5)])
def test_the_highest_rise_is_that_of_random_walks_or_up_to_twice_it(rate, sd):
    T, rng = 2_000, np.random.default_rng(0)
    rises = []
    for _ in range(200):
        walk = np.cumsum(rng.normal(-rate, sd, T))
        rises.append(np.max(walk - np.minimum.accumulate(walk)))
    grown = rng.normal(-rate, sd, (12, 20_000))
    expected = float(highest_rise(growth_of(jnp.asarray(grown)), T))
    assert 0.9 < expected / np.mean(rises) < 2


def test_what_does_not_shrink_rises_without_limit():
    assert np.isposinf(highest_rise(growth_of(jnp.full((12, 64), 0.01)), 100))


def test_a_chain_that_grows_over_a_quarter_period_is_divided_and_solved():
    mcmc = divided()
    warmup = mcmc.last_state.warmup
    number = int(warmup.division[0])
    assert number in DIVISIONS[1:] and mcmc.solve_settings()["thinning"] == number
    assert np.all(warmup.rise[:, 0] > 6) and draws(mcmc).shape == (2, 300, 2)
    assert np.all(mcmc.last_state.solve.status == pm.Status.CONVERGED)
    fields = mcmc.get_extra_fields(group_by_chain=True)
    assert np.all(fields["i"] == 500 + number * np.arange(1, 301))
    assert np.all(fields["trajectory_length"] <= 1.3 * np.pi / 2 / number + 1e-5)
    assert f"for 300 draws of {number} steps (" in mcmc.solve_summary()


def test_its_draws_are_those_of_the_steps_one_by_one():
    np.testing.assert_allclose(draws(divided()), draws(divided("sequential")), atol=2e-4)


@pytest.mark.slow
def test_chains_one_after_the_other_are_divided_too():
    # Their warm-up is another program, which rounds otherwise than that of chains side by side.
    mcmc = run(cross, pm.deer(), method="sequential")
    assert mcmc.solve_settings()["thinning"] in DIVISIONS[1:]
    assert np.all(mcmc.last_state.solve.status == pm.Status.CONVERGED)
    by_steps = run(cross, pm.sequential(), method="sequential")
    np.testing.assert_allclose(draws(mcmc), draws(by_steps), atol=2e-4)


def test_its_draws_are_right():
    x = draws(run(cross, pm.sequential(), num_samples=4_000))
    size = min(numpyro.diagnostics.effective_sample_size(np.abs(x[..., i])) for i in range(2))
    grid = np.linspace(-12, 12, 4_001)
    # The density of one coordinate, the other integrated out.
    density = np.exp(-(grid**2) / 4) / np.sqrt(0.25 + 2 * grid**2)
    density /= density.sum()
    mean = np.sum(np.abs(grid) * density)
    sd = np.sqrt(np.sum(grid**2 * density) - mean**2)
    assert np.all(np.abs(np.abs(x).mean(axis=(0, 1)) - mean) < 4 * sd / np.sqrt(size))


def test_the_gradients_of_all_steps_are_counted():
    mcmc = divided("sequential")
    number, leapfrogs = mcmc.solve_settings()["thinning"], mcmc.last_state.num_steps
    made = mcmc.critical_path()["sample_gradients"]
    assert made == (300 * number * np.asarray(leapfrogs)).tolist()


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_the_division():
    mcmc = run(cross, pm.sequential(), num_samples=200)
    first = draws(mcmc)
    mcmc.post_warmup_state = mcmc.last_state
    mcmc.run(mcmc.post_warmup_state.rng_key)
    both = np.concatenate([first, draws(mcmc)], axis=1)
    whole = run(cross, pm.sequential(), num_samples=400)
    assert mcmc.solve_settings()["thinning"] == whole.solve_settings()["thinning"]
    np.testing.assert_array_equal(both, draws(whole))


def test_a_state_goes_on_in_another_process_and_not_without_having_been_measured():
    mcmc = divided("sequential")
    other = pickle.loads(pickle.dumps(mcmc))
    for each in (mcmc, other):
        each.post_warmup_state = each.last_state
        each.run(each.post_warmup_state.rng_key)
    np.testing.assert_array_equal(draws(mcmc), draws(other))
    divided.cache_clear()
    other.post_warmup_state = run(cross, pm.sequential(), thinning=1).last_state
    with pytest.raises(ValueError, match="not asked for in the warm-up that this state is of"):
        other.run(KEY)


@pytest.mark.slow
def test_where_a_quarter_period_serves_draws_are_those_without():
    mcmc = run(plain, pm.jacobi())
    assert mcmc.solve_settings()["thinning"] == 1
    np.testing.assert_array_equal(draws(mcmc), draws(run(plain, pm.jacobi(), thinning=1)))
    assert np.all(mcmc.last_state.warmup.rise <= 6)


@pytest.mark.slow
def test_inference_data_tell_the_division():
    data = pm.to_inference_data(divided())
    assert data.posterior.attrs["thinning"] == divided().solve_settings()["thinning"]


@pytest.mark.parametrize(
    "kernel",
    [
        pm.ParallelMALA(plain),
        pm.ParallelHMC(plain, num_steps=4, trajectory_length=None),
        numpyro.infer.NUTS(plain),
    ],
    ids=lambda kernel: type(kernel).__name__,
)
def test_other_kernels_have_nothing_to_divide(kernel):
    with pytest.raises(ValueError, match=r"divides the trajectories .* give a number of steps"):
        pm.MCMC(kernel, num_warmup=500, num_samples=100, thinning="auto")


@pytest.mark.parametrize("settings, num_warmup", [({"num_helpers": 0}, 500), ({}, 100)])
def test_without_helpers_nothing_can_be_found(settings, num_warmup):
    kernel = pm.ParallelHMC(plain, **settings)
    mcmc = pm.MCMC(
        kernel, num_warmup=num_warmup, num_samples=100, thinning="auto", progress_bar=False
    )
    with pytest.raises(ValueError, match="there are none; give a number of steps"):
        mcmc.run(KEY)
