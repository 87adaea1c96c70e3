"""The warm-up of NumPyro's kernels by helpers: what it finds, for which models, and its cost."""

import functools
import re
import warnings

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro_runs import CLASSES
from numpyro_warmups import SD, model, run, started, walk

import parallel_mcmc as pm
from parallel_mcmc._numpyro.helpers import radius_around_zero
from parallel_mcmc._numpyro.metric import blocks_of, by_blocks


@pytest.fixture
def no_adaptation_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", pm.AdaptationWarning)
        yield


@functools.cache
def by_helpers(cls="pm", method="vectorized"):
    return run(pm.ParallelHMC(model, solver=pm.jacobi()), cls, method=method)


def test_draws_after_a_warm_up_by_helpers_are_right(no_adaptation_warning):
    mcmc = by_helpers()
    state, samples = mcmc.last_state, mcmc.get_samples(group_by_chain=True)
    assert np.all(state.warmup.settled) and np.all(state.warmup.num_gradients < 500)
    b = np.asarray(samples["b"])
    size = float(arviz.ess(b))
    sd = np.hypot(SD, 5)
    assert abs(b.mean()) < 4 * sd / np.sqrt(size)
    assert abs(b.std() / sd - 1) < 4 / np.sqrt(2 * size)


@pytest.mark.parametrize("cls, method", [("numpyro", "vectorized"), ("pm", "sequential")])
@pytest.mark.slow
def test_both_classes_and_every_way_to_run_chains_warm_up_alike(cls, method):
    found, expected = by_helpers(cls, method), by_helpers()
    rounding = 0 if method == "vectorized" else 1e-4  # of one chain and of a batch
    for name in (
        "warmup.num_gradients",
        "adapt_state.step_size",
        "adapt_state.inverse_mass_matrix",
    ):
        field = [functools.reduce(getattr, name.split("."), mcmc.last_state) for mcmc in
                 (found, expected)]  # fmt: skip
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rounding), *field)
    if method == "vectorized":
        np.testing.assert_allclose(
            found.get_samples()["b"], expected.get_samples()["b"], rtol=1e-3, atol=1e-3
        )


def test_the_metric_that_helpers_find_is_that_of_the_posterior():
    state = started(pm.ParallelHMC(model))
    ((names, metric),) = state.adapt_state.inverse_mass_matrix.items()
    assert names == ("a", "b", "scale")
    # Of 64 helpers that have drawn twice at the least: four standard errors.
    sd = np.sqrt(np.diag(metric))
    np.testing.assert_allclose(sd, [0.1, np.hypot(SD, 5), 0.5], rtol=4 / np.sqrt(2 * 128))
    assert abs(metric[0, 1] / (sd[0] * sd[1]) - 5 / np.hypot(SD, 5)) < 4 / np.sqrt(128)


@pytest.mark.slow
def test_a_metric_of_a_hundred_unknowns_knows_their_correlations(no_adaptation_warning):
    samples = {}
    for cls in ("pm", "numpyro"):
        mcmc = run(pm.ParallelHMC(walk, solver=pm.sequential()), cls)
        assert np.all(mcmc.last_state.warmup.settled)
        ((names, metric),) = mcmc.last_state.adapt_state.inverse_mass_matrix.items()
        assert names == ("x",) and metric.shape == (2, 100, 100)
        samples[cls] = np.asarray(mcmc.get_samples(group_by_chain=True)["x"])
    np.testing.assert_allclose(samples["pm"], samples["numpyro"], rtol=1e-3, atol=1e-2)
    sizes = [float(arviz.ess(samples["pm"][:, :, i])) for i in (0, 49, 99)]
    assert min(sizes) > samples["pm"][:, :, 0].size / 4


def test_blocks_of_sites_are_kept_apart():
    state = started(pm.ParallelHMC(model, dense_mass=[("b", "a")]))
    metric = state.adapt_state.inverse_mass_matrix
    assert {names: leaf.shape for names, leaf in metric.items()} == {
        ("b", "a"): (2, 2), ("scale",): (1,),
    }  # fmt: skip
    assert metric["b", "a"][0, 0] > 100 * metric["b", "a"][1, 1]  # in the order of the block


def test_a_metric_is_taken_apart_by_sites_in_the_order_that_they_are_asked_for():
    z = {"b": jnp.zeros(2), "a": jnp.zeros(()), "c": jnp.zeros((1, 2))}
    matrix = jnp.arange(25.0).reshape(5, 5)
    blocks = blocks_of([("c", "a")], z)
    expected = np.eye(5, dtype=bool)
    expected[np.ix_([0, 3, 4], [0, 3, 4])] = True
    np.testing.assert_array_equal(blocks, expected)
    found = by_blocks(matrix, [("c", "a")], z)
    assert found["c", "a"].tolist() == [[18, 19, 15], [23, 24, 20], [3, 4, 0]]
    assert found[("b",)].tolist() == [6, 12]
    variances = by_blocks(jnp.arange(5.0), [], z)
    assert variances["a", "b", "c"].tolist() == [0, 1, 2, 3, 4]
    assert by_blocks(matrix, True, z) is matrix


def test_a_potential_without_a_model_is_warmed_up_from_its_start(no_adaptation_warning):
    def potential_fn(z):
        return jnp.sum((z["x"] - 100) ** 2) / 2

    kernel = pm.ParallelHMC(potential_fn=potential_fn)
    state = started(kernel, init_params={"x": jnp.full(2, 90.0)})
    assert state.warmup.settled and state.adapt_state.inverse_mass_matrix.shape == (2, 2)
    assert np.all(np.abs(state.z["x"] - 100) < 5)
    with pytest.raises(ValueError, match="not finite at the init_params"):
        started(kernel, init_params={"x": jnp.full(2, jnp.nan)})


@pytest.mark.parametrize(
    "kernel, low, high",
    [
        (pm.ParallelMALA(model), 0.65, 0.95),
        (pm.ParallelHMC(model, num_steps=3, trajectory_length=None), 0.75, 1),
    ],
    ids=["MALA", "three leapfrog steps"],
)
@pytest.mark.slow
def test_a_kernel_with_a_number_of_steps_accepts_as_often_as_it_should(kernel, low, high):
    kernel.solver = pm.sequential()
    mcmc = run(kernel)
    assert np.all(mcmc.last_state.warmup.settled)
    rates = np.asarray(mcmc.last_state.mean_accept_prob)
    assert np.all((rates > low) & (rates < high))


def test_helpers_begin_around_zero_where_numpyro_does():
    assert radius_around_zero(numpyro.infer.init_to_uniform) == 2
    assert radius_around_zero(numpyro.infer.init_to_uniform(radius=1)) == 1
    assert radius_around_zero(numpyro.infer.init_to_median) is None


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.slow
def test_another_run_warms_up_for_what_the_model_has_become(cls):
    box = {"sd": 1.0}

    def changing():
        numpyro.sample("x", dist.Normal(0, box["sd"]))

    kernel = pm.ParallelHMC(changing, solver=pm.sequential())
    for sd in (1.0, 1e-3):
        box["sd"] = sd
        x = np.asarray(run(kernel, cls).get_samples()["x"])
        assert abs(x.std() / sd - 1) < 0.3


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_a_start_in_single_precision_does_in_double(cls):
    kernel = pm.ParallelHMC(potential_fn=lambda x: jnp.sum(x**2) / 2, solver=pm.sequential())
    mcmc = CLASSES[cls](kernel, num_warmup=300, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.key(0), init_params=jnp.ones(2, jnp.float32))
    assert bool(mcmc.last_state.warmup.settled)


def test_the_critical_path_is_told(capsys):
    mcmc = by_helpers()
    attributes = pm.to_inference_data(mcmc)["posterior"].attrs
    solve, num_steps = mcmc.last_state.solve, np.asarray(mcmc.last_state.num_steps)
    made = np.asarray(solve.num_iterations) * (num_steps + 1)
    made += np.asarray(solve.num_sequential_steps) * num_steps
    assert attributes["sample_gradients"] == made.tolist()
    assert (
        attributes["warmup_gradients"] == np.asarray(mcmc.last_state.warmup.num_gradients).tolist()
    )
    mcmc.print_summary()
    assert f"{max(made):,} for the draws" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("method", ["vectorized", "sequential"])
@pytest.mark.slow
def test_numpyros_own_class_takes_the_solver_that_a_pilot_has_chosen(method):
    kernel = pm.ParallelHMC(model, solver=pm.auto(platform="gpu"), window=300)
    mcmc = run(kernel, "numpyro", num_samples=300, method=method)
    settings = kernel.settings(mcmc.last_state)
    assert settings["solver"] == "jacobi"
    assert re.search(
        "perturbations shrink by .* iterations of jacobi to expect", settings["solver_choice"]
    )
    expected = run(pm.ParallelHMC(model, solver=pm.jacobi(), window=300), "numpyro", 500, 300, 2,
                   method).get_samples()  # fmt: skip
    for name, draws in mcmc.get_samples().items():
        np.testing.assert_array_equal(draws, expected[name])
