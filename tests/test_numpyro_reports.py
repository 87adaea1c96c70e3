"""What is kept of a run under NumPyro, and said: fields, states, pickles and summaries."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import Predictive, log_likelihood
from numpyro_chains import NUM_SAMPLES, Y, assert_same, drawn, model, mostly, run
from numpyro_runs import CLASSES, one

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize("cls", CLASSES)
def test_extra_fields_reach_into_the_state(cls):
    fields = ("adapt_state.step_size", "z.sigma", "~z.variance", "solve.num_iterations")
    mcmc = run(cls=cls, extra_fields=fields, num_warmup=0)
    samples, extra = drawn(mcmc)
    assert set(samples) == {"mu", "sigma"}
    by_default = {"diverging", "potential_energy", "accept_prob", "energy", "num_steps"}
    asked_for = {"adapt_state.step_size", "z.sigma", "solve.num_iterations"}
    assert by_default - {"energy", "num_steps"} <= set(extra) - asked_for <= by_default
    assert asked_for <= set(extra)
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
def test_the_summary_ends_with_a_line_on_the_solve(capsys):
    run(num_warmup=0).print_summary()
    shown = capsys.readouterr().out
    assert "sigma" in shown and "variance" not in shown
    assert "Solved in parallel: " in shown.splitlines()[-2]
    assert "Gradients one after the other" in shown.splitlines()[-1]
    run(solver=pm.auto("cpu"), num_warmup=0).print_summary()
    assert re.search(r"Run step by step: \d+ draws \(sequential: on a CPU", capsys.readouterr().out)


def test_the_bar_shows_what_the_warm_up_has_found(capsys, monkeypatch):
    for name in ("CI", "PYTEST_XDIST_WORKER"):  # where NumPyro shows no bar
        monkeypatch.delenv(name, raising=False)
    mcmc = pm.MCMC(
        pm.ParallelHMC(one), num_warmup=400, num_samples=20, num_chains=2, progress_bar=True,
        chain_method="vectorized",
    )  # fmt: skip
    mcmc.run(jax.random.key(0))
    shown = capsys.readouterr().err
    last = [line for line in re.split("[\r\n]", shown) if line.startswith("warm-up: ")][-1]
    gradients = max(mcmc.critical_path()["warmup_gradients"])
    assert re.search(rf"^warm-up: {gradients} gradient .*step size \S+, R-hat 1\.\d+", last)


def test_before_a_run_the_summary_says_that_there_was_none():
    mcmc = pm.MCMC(pm.ParallelHMC(one), num_warmup=0, num_samples=1)
    assert mcmc.solve_summary() == "Nothing was solved yet: there was no run"
    assert mcmc.solve_settings() == {} and mcmc.critical_path() == {}
