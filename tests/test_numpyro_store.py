"""`pm.MCMC` with a store: the same chains, in windows, continued without another warm-up."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from stored_runs import files_of

import parallel_mcmc as pm

Y = jnp.array([1.0, 2.0, 0.5])
FIELDS = "energy", "potential_energy", "accept_prob"


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    with numpyro.plate("groups", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, 1))
    numpyro.deterministic("twice", 2 * mu)
    numpyro.sample("y", dist.Normal(theta, 1), obs=y)


def run(num_samples, store=None, y=Y, seed=0, num_warmup=60, **options):
    options = {"window": 20, "solver": pm.sequential(), "num_helpers": 0, **options}
    chains = {name: options.pop(name) for name in ("thinning",) if name in options}
    mcmc = pm.MCMC(
        pm.ParallelHMC(model, **options), num_warmup=num_warmup, num_samples=num_samples,
        num_chains=2, chain_method="vectorized", progress_bar=False, store=store, **chains,
    )  # fmt: skip
    mcmc.run(jax.random.key(seed), y, extra_fields=FIELDS)
    return mcmc


def assert_equal(mcmc, other, exactly=True):
    for get in ("get_samples", "get_extra_fields"):
        ours, theirs = (getattr(m, get)(group_by_chain=True) for m in (mcmc, other))
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            compare = np.testing.assert_array_equal if exactly else np.testing.assert_allclose
            options = {} if exactly else {"rtol": 1e-3, "atol": 1e-3}
            compare(ours[name], value, err_msg=name, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(50, tmp_path_factory.mktemp("whole") / "run.zarr")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zarr"


def test_the_draws_are_those_without_a_store(whole):
    assert_equal(whole, run(50), exactly=False)
    assert whole.get_samples()["theta"].shape == (100, 3)


def test_an_extended_run_is_the_run_in_one_go(path, whole):
    run(30, path)
    extended = run(50, path)
    assert_equal(extended, whole)
    assert extended.critical_path() == whole.critical_path()
    assert "50 draws" in extended.solve_summary()
    assert extended.solve_settings()["store"] == str(path)


def test_a_warm_up_that_was_finished_is_not_run_again(path):
    calls = []

    def counted(y):
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        jax.debug.callback(calls.append, mu)
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    def go_on(num_samples):
        kernel = pm.ParallelRandomWalk(counted, num_helpers=0, solver=pm.sequential(), window=10)
        mcmc = pm.MCMC(
            kernel, num_warmup=500, num_samples=num_samples, progress_bar=False, store=path
        )
        before = len(calls)
        mcmc.run(jax.random.key(0), Y)
        jax.effects_barrier()
        return len(calls) - before

    assert go_on(10) > 500
    assert go_on(30) < 200


def test_windows_share_their_programs(path, caplog):
    def compilations(num_samples):
        kernel = pm.ParallelRandomWalk(model, num_helpers=0, solver=pm.sequential(), window=10)
        mcmc = pm.MCMC(
            kernel, num_warmup=20, num_samples=num_samples, progress_bar=False, store=path
        )
        caplog.clear()
        with jax.log_compiles():
            mcmc.run(jax.random.key(0), Y)
        return sum("Finished XLA compilation" in record.message for record in caplog.records)

    compilations(10)
    one, ten = compilations(20), compilations(120)
    assert 0 < ten <= one


def test_reports_and_arviz_read_it(path, capsys):
    mcmc = run(50, path)
    mcmc.print_summary()
    assert "theta[2]" in capsys.readouterr().out
    data = pm.to_inference_data(mcmc)
    on_disk = pm.open_store(path)
    for name in ("mu", "theta", "twice"):
        np.testing.assert_array_equal(data["posterior"][name], on_disk["posterior"][name])
    np.testing.assert_array_equal(data["sample_stats"]["lp"], on_disk["sample_stats"]["lp"])
    np.testing.assert_array_equal(on_disk["observed_data"]["y"], Y)
    gradients = mcmc.critical_path()["warmup_gradients"]
    assert on_disk["posterior"].attrs["warmup_gradients"] == gradients


@pytest.mark.slow
def test_thinned_draws_are_stored(path):
    stored = run(60, path, thinning=3)
    assert_equal(stored, run(60, thinning=3), exactly=False)
    assert pm.open_store(path)["posterior"].sizes["draw"] == 20


@pytest.mark.parametrize(
    "changed, word",
    [
        ({"y": Y + 1}, "data"),
        ({"seed": 1}, "rng_key"),
        ({"num_warmup": 70}, "num_warmup"),
        ({"trajectory_length": 0.5}, "kernel"),
        ({"target_accept_prob": 0.7}, "option of the kernel"),
        ({"solver": pm.jacobi()}, "solver"),
    ],
    ids=["data", "key", "warm-up", "trajectory", "rate", "solver"],
)
def test_another_run_is_refused_and_nothing_is_changed(changed, word, whole):
    before = files_of(whole._store)
    with pytest.raises(pm.StoreError, match=f"another .*{word}"):
        run(60, whole._store, **changed)
    assert files_of(whole._store) == before


def test_what_a_store_cannot_hold_is_refused(path):
    with pytest.raises(ValueError, match="kernel of this package with a model"):
        pm.MCMC(numpyro.infer.NUTS(model), num_warmup=9, num_samples=9, store=path)
    with pytest.raises(ValueError, match="multiple of thinning"):
        pm.MCMC(pm.ParallelHMC(model), num_warmup=9, num_samples=10, thinning=3, store=path)
    mcmc = pm.MCMC(pm.ParallelHMC(model), num_warmup=9, num_samples=9, store=path)
    with pytest.raises(ValueError, match="call `run` alone"):
        mcmc.warmup(jax.random.key(0), Y)
