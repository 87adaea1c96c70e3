"""Kernels under `numpyro.infer.MCMC` and `pm.MCMC`: the same draws, however one asks for them."""

import functools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, Predictive, log_likelihood

import parallel_mcmc as pm

NUM_WARMUP, NUM_SAMPLES, WINDOW = 40, 30, 12  # the last window is not used up
Y = np.array([0.3, 1.9, -0.4, 1.1])
CLASSES = {"numpyro": MCMC, "pm": pm.MCMC}
EXACT = {"rtol": 1e-6, "atol": 1e-6}  # tol is 1e-10 of the spread, and steps contract


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.deterministic("variance", sigma**2)
    with numpyro.plate("data", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def mean_model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    variance = numpyro.sample("variance", dist.InverseGamma(3.0, 2.0))
    numpyro.deterministic("sigma", jnp.sqrt(variance))
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variance)), obs=y)


def blocks(y):
    def update_mean(x, noise):
        precision = 1 / 4 + y.size / x["variance"]
        return {"mu": jnp.sum(y) / x["variance"] / precision + noise / jnp.sqrt(precision)}

    def update_variance(x, noise):
        return {"variance": noise * (2.0 + jnp.sum((y - x["mu"]) ** 2) / 2)}

    return [
        pm.GibbsBlock(jax.random.normal, update_mean),
        pm.GibbsBlock(lambda key: 1 / jax.random.gamma(key, 3 + y.size / 2), update_variance),
    ]


def blackjax_mala(logdensity_fn):
    return blackjax.mala(logdensity_fn, 0.1)


def blackjax_dynamic_hmc(logdensity_fn):
    return blackjax.dhmc(logdensity_fn, 0.3, jnp.ones(2))


# In windows as short as these the cheapest solver to compile does for all kernels.
KERNELS = {
    "hmc": (lambda **o: pm.ParallelHMC(model, step_size=0.5, **o), pm.jacobi),
    "mala": (lambda **o: pm.ParallelMALA(model, step_size=0.1, **o), pm.jacobi),
    "random walk": (lambda **o: pm.ParallelRandomWalk(model, **o), pm.picard),
    "blackjax mala": (lambda **o: pm.ParallelBlackJAX(model, blackjax_mala, **o), pm.deer),
    "blackjax dhmc": (lambda **o: pm.ParallelBlackJAX(model, blackjax_dynamic_hmc, **o), pm.jacobi),
    "gibbs": (lambda **o: pm.ParallelGibbs(mean_model, blocks, **o), pm.jacobi),
}


def mostly(values, slow, thorough=()):
    """Parameters of a test, some of them for longer runs only."""
    name = {jax.vmap: "vmap"}  # its own would hold an address
    return [
        pytest.param(
            v,
            marks=[pytest.mark.slow] * (v in slow) + [pytest.mark.thorough] * (v in thorough),
            id=name.get(v, str(v)),
        )
        for v in values
    ]


FIELDS = ("potential_energy", "accept_prob", "mean_accept_prob", "solve.status", "i")


def sampler(kernel="mala", cls="pm", solver=None, window=WINDOW, **options):
    make, default = KERNELS[kernel]
    settings = {"num_warmup": NUM_WARMUP, "num_samples": NUM_SAMPLES, "progress_bar": False}
    made = make(solver=default() if solver is None else solver, window=window)
    return CLASSES[cls](made, **(settings | options))


def drawn(mcmc):
    """Draws and fields by chain, as numpy arrays."""
    return jax.device_get((mcmc.get_samples(True), mcmc.get_extra_fields(True)))


def assert_same(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **(tolerance or EXACT)), one, other)


def run(*args, seed=0, y=Y, extra_fields=FIELDS, **options):
    mcmc = sampler(*args, **options)
    mcmc.run(jax.random.key(seed), y, extra_fields=extra_fields)
    return mcmc


@functools.cache
def stepwise(kernel="mala", num_chains=1, num_warmup=NUM_WARMUP):
    """What every run must reproduce: a solver that takes step after step."""
    options = {"num_chains": num_chains, "chain_method": "sequential", "num_warmup": num_warmup}
    return drawn(run(kernel, "pm", pm.sequential(), **options))


# The draws. Of MALA they are those of most of the other tests.


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["numpyro"]))
@pytest.mark.parametrize(
    "kernel",
    mostly(
        [name for name in KERNELS if name != "mala"],
        slow=["blackjax mala"],
        thorough=["random walk", "blackjax dhmc"],
    ),
)
def test_every_kernel_gives_the_draws_of_its_sequential_chain(kernel, cls):
    result = run(kernel, cls, num_warmup=0)
    assert_same(drawn(result), stepwise(kernel, num_warmup=0))
    assert not drawn(result)[1]["solve.status"].any()
    assert int(np.max(result.last_state.solve.num_iterations)) > 0  # it was solved in parallel
    assert jax.tree.leaves(drawn(result)[0])[0].std() > 0  # and moved


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["numpyro"]))
@pytest.mark.parametrize(
    "method",
    mostly(["sequential", "vectorized", jax.vmap], slow=["sequential"], thorough=[jax.vmap]),
)
def test_every_way_to_run_chains_gives_the_same_draws(cls, method):
    result = run(cls=cls, num_chains=2, chain_method=method)
    samples, fields = drawn(result)
    assert samples["mu"].shape == fields["potential_energy"].shape == (2, NUM_SAMPLES)
    # Vectorised arithmetic rounds differently, and the warm-up adapts to it.
    assert_same((samples, fields), stepwise(num_chains=2), rtol=1e-5, atol=1e-5)
    assert result.last_state.z["mu"].shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_the_window_does_not_change_the_draws(cls):
    result = run(cls=cls, window=NUM_SAMPLES + 5, num_warmup=0)
    assert_same(drawn(result)[0], stepwise(num_warmup=0)[0])


@pytest.mark.parametrize("cls", CLASSES)
def test_raw_keys_do_as_well(cls):
    mcmc = sampler(cls=cls, solver=pm.sequential(), num_warmup=0)
    mcmc.run(jax.random.PRNGKey(0), Y)
    expected = stepwise(num_warmup=0)[0]["mu"][0]
    np.testing.assert_allclose(mcmc.get_samples()["mu"], expected, **EXACT)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.slow
def test_thinning_keeps_every_third_draw(cls):
    # Of 29 draws the first two are left over, then the last of each three is kept.
    result = run(cls=cls, thinning=3, num_samples=29, solver=pm.sequential(), num_warmup=0)
    expected = stepwise(num_warmup=0)[0]["mu"][0][4:29:3]
    np.testing.assert_allclose(result.get_samples()["mu"], expected, **EXACT)


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["pm"]))
def test_a_progress_bar_changes_nothing(cls, capfd, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # NumPyro shows no bar there
    monkeypatch.delenv("CI", raising=False)
    assert_same(drawn(run(cls=cls, progress_bar=True, num_warmup=0)), stepwise(num_warmup=0))
    shown = capfd.readouterr().err
    assert "100%" in shown
    if cls == "numpyro":
        assert "step size" in shown and "iterations, converged" in shown


# Warm-up, and what follows it.


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


# Fields, summaries, files.


@pytest.mark.parametrize("cls", CLASSES)
def test_extra_fields_reach_into_the_state(cls):
    fields = ("adapt_state.step_size", "z.sigma", "~z.variance", "solve.num_iterations")
    mcmc = run(cls=cls, extra_fields=fields, num_warmup=0)
    samples, extra = drawn(mcmc)
    assert set(samples) == {"mu", "sigma"}
    assert set(extra) == {"diverging", "adapt_state.step_size", "z.sigma", "solve.num_iterations"}
    np.testing.assert_allclose(np.exp(extra["z.sigma"]), samples["sigma"], rtol=1e-12)
    assert np.all(extra["adapt_state.step_size"] == extra["adapt_state.step_size"][0, 0])
    assert np.all(extra["solve.num_iterations"] > 0)


@pytest.mark.parametrize("cls", mostly(CLASSES, slow=["numpyro"]))
def test_a_sampler_is_pickled_with_its_draws_and_goes_on(cls):
    mcmc = run(cls=cls, solver=pm.sequential(), num_warmup=0)
    copy = pickle.loads(pickle.dumps(mcmc))
    assert_same(drawn(copy), drawn(mcmc))
    for sampler in (mcmc, copy):
        sampler.post_warmup_state = sampler.last_state
        sampler.run(jax.random.key(3), Y)
    assert_same(copy.get_samples(), mcmc.get_samples())


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.slow
def test_states_move_to_the_host_and_feed_numpyros_functions(cls):
    mcmc = run(cls=cls, solver=pm.sequential(), num_warmup=0)
    mcmc.transfer_states_to_host()
    samples = mcmc.get_samples()
    assert isinstance(samples["mu"], np.ndarray)
    np.testing.assert_allclose(samples["variance"], samples["sigma"] ** 2, rtol=1e-12)
    predicted = Predictive(model, samples)(jax.random.key(1), Y)
    assert predicted["variance"].shape == (NUM_SAMPLES,)
    assert log_likelihood(model, samples, Y)["y"].shape == (NUM_SAMPLES, Y.size)


@pytest.mark.slow
def test_a_pilot_is_compiled_once():
    traced = []

    def potential_fn(z):
        traced.append(z)
        return jnp.sum(z**2) / 2

    kernel = pm.ParallelRandomWalk(potential_fn=potential_fn, solver=pm.auto(platform="gpu"))
    mcmc = pm.MCMC(kernel, num_warmup=0, num_samples=8, num_chains=2, chain_method="sequential",
                   progress_bar=False)  # fmt: skip
    draws = []
    for seed in (0, 1):
        mcmc.run(jax.random.key(seed), init_params=jnp.zeros((2, 2)))
        assert "a pilot of 8 steps" in mcmc.solve_settings()["solver_choice"]
        draws.append(mcmc.get_samples())
        if not seed:
            once = len(traced)
    assert len(traced) <= once + 2  # where a chain starts; the solve and its pilots not again
    assert np.any(draws[0] != draws[1])


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


@pytest.mark.slow
def test_the_summary_ends_with_a_line_on_the_solve(capsys):
    run(num_warmup=0).print_summary()
    shown = capsys.readouterr().out
    assert "sigma" in shown and "variance" not in shown
    assert "Solved in parallel: " in shown.splitlines()[-2]
    assert "Gradients one after the other" in shown.splitlines()[-1]
    run(solver=pm.auto("cpu"), num_warmup=0).print_summary()
    assert re.search(r"Run step by step: \d+ draws \(sequential: on a CPU", capsys.readouterr().out)


@pytest.mark.parametrize("cls, num_chains", [("numpyro", 2), ("pm", 1)])
@pytest.mark.slow
def test_a_chain_finished_step_by_step_is_right_and_warns_once(cls, num_chains):
    kernel = pm.ParallelMALA(
        model, step_size=0.1, solver=pm.jacobi(max_iterations=1), window=WINDOW
    )
    mcmc = CLASSES[cls](
        kernel, num_warmup=0, num_samples=NUM_SAMPLES, num_chains=num_chains,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    with pytest.warns(pm.ConvergenceWarning, match="run one by one") as warned:
        mcmc.run(jax.random.key(0), Y)
        jax.effects_barrier()
    # In three windows. pm.MCMC looks at all chains in the end, NumPyro's has no end to look at.
    assert len(warned) == (num_chains if cls == "numpyro" else 1)
    expected = stepwise(num_chains=num_chains, num_warmup=0)[0]
    assert_same(drawn(mcmc)[0], expected)


def test_a_kernel_of_numpyros_runs_as_it_does_there():
    results = []
    for cls in CLASSES.values():
        kernel = numpyro.infer.HMC(model, num_steps=3, adapt_step_size=False, step_size=0.3)
        mcmc = cls(kernel, num_warmup=2, num_samples=20, progress_bar=False)
        mcmc.warmup(jax.random.key(1), Y)
        mcmc.run(jax.random.key(0), Y)
        results.append(mcmc.get_samples())
    assert_same(*results)


TWO_DEVICES = """
import sys, jax, numpy as np, numpyro, numpyro.distributions as dist
import parallel_mcmc as pm
from numpyro.infer import MCMC
assert jax.local_device_count() == 2

def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

y, found = np.array([0.3, 1.9]), []
for cls, method in (pm.MCMC, "sequential"), (pm.MCMC, "parallel"), (MCMC, "parallel"):
    mcmc = cls(
        pm.ParallelHMC(model, solver=pm.jacobi(), window=5), num_warmup=0, num_samples=8,
        num_chains=2, chain_method=method, progress_bar=False,
    )
    mcmc.run(jax.random.key(0), y)
    assert len(mcmc.last_state.x.devices()) == 1 + (method == "parallel")
    found.append(np.asarray(mcmc.get_samples(group_by_chain=True)["mu"]))
    np.testing.assert_allclose(found[-1], found[0], rtol=1e-4, atol=1e-4)
assert found[0].shape == (2, 8) and np.all(found[0][0] != found[0][1])
print("same")
"""


@pytest.mark.slow
def test_chains_on_two_devices_are_those_of_one():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "same", result.stderr
