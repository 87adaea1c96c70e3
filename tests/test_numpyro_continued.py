"""Warm-ups under NumPyro and what follows them: runs that go on, or with other data."""

import functools

import jax
import numpy as np
import pytest
from numpyro_chains import (
    EXACT,
    NUM_SAMPLES,
    NUM_WARMUP,
    WINDOW,
    Y,
    assert_same,
    drawn,
    model,
    mostly,
    run,
    sampler,
    stepwise,
)
from numpyro_runs import CLASSES

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("double_precision")


def continued(mcmc, state, key):
    mcmc.post_warmup_state = state
    mcmc.run(key, Y)
    return np.asarray(mcmc.get_samples()["mu"])


@pytest.fixture(scope="module", params=mostly(CLASSES, slow=["numpyro"]))
def warmed_up(request):
    """A sampler, its state after the warm-up, and the draws and the last state of a run."""
    mcmc = sampler(cls=request.param)
    mcmc.warmup(jax.random.key(0), Y)
    state = mcmc.post_warmup_state
    return mcmc, state, continued(mcmc, state, jax.random.key(1)), mcmc.last_state


def test_runs_after_a_warmup_follow_their_keys(warmed_up):
    mcmc, state, first, _ = warmed_up
    np.testing.assert_array_equal(continued(mcmc, state, jax.random.key(1)), first)
    assert np.any(continued(mcmc, state, jax.random.key(2))[:WINDOW] != first[:WINDOW])


@functools.cache
def in_one_go():
    mcmc = sampler(solver=pm.sequential(), num_samples=2 * NUM_SAMPLES)
    mcmc.warmup(jax.random.key(0), Y)
    return continued(mcmc, mcmc.post_warmup_state, jax.random.key(1))


def test_a_chain_continued_from_its_last_state_is_the_chain_run_in_one_go(warmed_up):
    mcmc, _, first, last = warmed_up
    second = continued(mcmc, last, last.rng_key)
    np.testing.assert_allclose(np.concatenate([first, second]), in_one_go(), **EXACT)


def test_a_warmed_up_state_serves_a_kernel_with_another_window_and_solver(warmed_up):
    mcmc, state, first, _ = warmed_up
    other = type(mcmc)(
        pm.ParallelMALA(model, solver=pm.sequential(), window=7), num_warmup=NUM_WARMUP,
        num_samples=NUM_SAMPLES, progress_bar=False,
    )  # fmt: skip
    np.testing.assert_allclose(continued(other, state, jax.random.key(1)), first, **EXACT)


def test_other_keys_in_the_middle_of_a_window_give_other_draws(warmed_up):
    mcmc, _, first, last = warmed_up  # after 30 draws, with six of the third window left
    second = continued(mcmc, last, jax.random.key(2))
    assert np.any(second[:6] != in_one_go()[len(first) :][:6])


@pytest.mark.parametrize("kernel", mostly(["mala", "gibbs"], slow=["gibbs"]))
def test_both_classes_collect_the_same_warmup(kernel):
    results = []
    for cls in CLASSES:
        mcmc = sampler(kernel, cls, pm.sequential())
        mcmc.warmup(jax.random.key(0), Y, collect_warmup=True, extra_fields=("accept_prob",))
        results.append(drawn(mcmc))
        assert results[-1][0]["mu"].shape == (1, NUM_WARMUP)
        assert int(mcmc.post_warmup_state.i) == NUM_WARMUP
    assert_same(*results)
    assert len(np.unique(results[0][0]["mu"])) > NUM_WARMUP / 2


@pytest.mark.slow
def test_one_kernel_serves_two_samplers_with_different_warmups(warmed_up):
    mcmc, state, before, _ = warmed_up
    other = pm.MCMC(mcmc.sampler, num_warmup=NUM_WARMUP + 20, num_samples=5, progress_bar=False)
    other.run(jax.random.key(5), Y)
    np.testing.assert_array_equal(continued(mcmc, state, jax.random.key(1)), before)
    assert mcmc.last_state.adapt_state.step_size == state.adapt_state.step_size


OTHER = 1 - Y


@functools.cache
def with_other_data():
    """The first run stepwise, goes on from its last state, with its key, for other data."""
    mcmc = run(solver=pm.sequential(), num_warmup=0)
    return went_on(mcmc, OTHER)


def went_on(mcmc, y):
    mcmc.post_warmup_state = mcmc.last_state
    mcmc.run(mcmc.last_state.rng_key, y)
    return drawn(mcmc)[0]


@pytest.mark.parametrize(
    "cls, jit_model_args",
    [
        ("numpyro", True),
        pytest.param("numpyro", False, marks=pytest.mark.slow),
        pytest.param("pm", True, marks=pytest.mark.slow),
    ],
)
def test_new_data_in_the_middle_of_a_window_with_the_same_key_are_used(cls, jit_model_args):
    result = run(cls=cls, num_warmup=0, jit_model_args=jit_model_args)  # of 3 x 12 draws, 30
    assert_same(went_on(result, OTHER), with_other_data())


def test_data_that_were_changed_in_place_are_used():
    y = OTHER.copy()
    mcmc = run(y=y, solver=pm.sequential(), num_warmup=0, extra_fields=())
    y[:] = Y
    mcmc.run(jax.random.key(0), y)
    assert_same(drawn(mcmc)[0], stepwise(num_warmup=0)[0])


@pytest.mark.slow
def test_what_is_reported_of_a_warmup_is_not_what_is_reported_of_the_run(capsys):
    mcmc = sampler(solver=pm.jacobi(), num_warmup=5, num_samples=6)
    mcmc.warmup(jax.random.key(0), Y, collect_warmup=True)
    mcmc.print_summary()
    assert "step by step (sequential: a warm-up adapts" in capsys.readouterr().out.splitlines()[-1]
    assert pm.to_inference_data(mcmc)["posterior"].attrs["solver"] == "sequential"
    mcmc.run(jax.random.key(1), Y)
    data = pm.to_inference_data(mcmc)
    assert data["posterior"].attrs["solver"] == "jacobi"
    assert data["warmup_posterior"].attrs["solver"] == "sequential"
    assert data["warmup_posterior"].attrs["solve_iterations"] == [0]
