"""Runs of the NumPyro kernels in ArviZ: groups, names, attributes and the report."""

import subprocess
import sys

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from numpyro_runs import CLASSES, EFFECTS, SIGMA, one, school_run, schools

import parallel_mcmc as pm


def test_numpyro_is_whole_where_arviz_came_first():
    code = (
        "import arviz, sys, parallel_mcmc as pm; pm.ParallelHMC; "
        "assert sys.modules['numpyro.infer'].initialization"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("make", [arviz.from_numpyro, pm.to_inference_data])
def test_arviz_reads_a_run(make):
    data = make(school_run(), log_likelihood=True, coords={"school": ["A", "B", "C"]})
    assert data["posterior"]["theta"].shape == (2, 25, 3)
    assert data["posterior"]["theta"].coords["school"].values.tolist() == ["A", "B", "C"]
    assert data["log_likelihood"]["obs"].shape == (2, 25, 3)
    assert data["sample_stats"]["diverging"].shape == (2, 25)


def test_statistics_have_their_names_in_arviz_and_the_report_its_attributes():
    kernel = pm.ParallelHMC(one, solver=pm.jacobi())
    mcmc = pm.MCMC(kernel, num_warmup=0, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.key(0))
    data = pm.to_inference_data(mcmc)
    stats = data["sample_stats"]
    names = {"lp", "acceptance_rate", "step_size", "energy", "n_steps", "diverging"}
    assert names <= set(stats.data_vars)
    assert np.all(stats["energy"] > -stats["lp"])  # by the kinetic energy
    np.testing.assert_allclose(
        stats["lp"][0], dist.Normal().log_prob(mcmc.get_samples()["x"]), 1e-4
    )
    attrs = data["posterior"].attrs
    assert attrs["solver"] == "jacobi" and attrs["solve_status"] == ["converged"]
    assert attrs["solve_iterations"] == [int(mcmc.last_state.solve.num_iterations)]
    assert attrs["window"] == 20 and attrs["solver_choice"] == "jacobi: as asked"


@pytest.mark.parametrize(
    ("make", "platform", "reason"),
    [
        (MCMC, "cpu", "sequential: on a CPU"),
        (MCMC, "gpu", "deer: inside jit, without a pilot"),
        pytest.param(pm.MCMC, "gpu", "a pilot of 20 steps", marks=pytest.mark.thorough, id="pilot"),
    ],
)
def test_the_attributes_name_the_solver_that_auto_chose(make, platform, reason):
    kernel = pm.ParallelRandomWalk(one, solver=pm.auto(platform=platform), window=20)
    mcmc = make(kernel, num_warmup=0, num_samples=20, num_chains=2, progress_bar=False,
                chain_method="vectorized")  # fmt: skip
    mcmc.run(jax.random.key(0))
    attrs = pm.to_inference_data(mcmc)["posterior"].attrs
    assert reason in attrs["solver_choice"]
    assert attrs["solver"] == attrs["solver_choice"].split(":")[0]


@pytest.mark.slow
def test_a_kernel_says_on_request_whether_its_chains_are_predictable(capsys):
    reports = []
    for make in CLASSES.values():
        kernel = pm.ParallelMALA(
            potential_fn=lambda z: jnp.sum(z**2) / 2, adapt_step_size=False, step_size=0.4,
            adapt_mass_matrix=False, solver=pm.jacobi(), window=60, diagnose=True,
        )  # fmt: skip
        mcmc = make(kernel, num_warmup=0, num_samples=60, num_chains=2, progress_bar=False,
                    chain_method="vectorized")  # fmt: skip
        fields = ("predictability.exponent",)
        mcmc.run(jax.random.key(0), init_params=jnp.ones((2, 2)), extra_fields=fields)
        exponents = mcmc.get_extra_fields(True)["predictability.exponent"]
        assert exponents.shape == (2, 60)
        attrs = pm.to_inference_data(mcmc)["posterior"].attrs
        np.testing.assert_allclose(attrs["lyapunov_exponent"], exponents[:, -1])
        assert max(attrs["lyapunov_exponent"]) < -0.2
        assert max(attrs["error_bound"]) < 1e-3
        assert "forgets perturbations" in attrs["verdict"]
        reports.append(exponents)
    np.testing.assert_allclose(*reports, rtol=1e-3)
    mcmc.print_summary()
    assert capsys.readouterr().out.splitlines()[-1] == attrs["verdict"]


@pytest.mark.parametrize("num_chains", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_collected_warmup_has_its_groups(num_chains):
    mcmc = pm.MCMC(
        pm.ParallelRandomWalk(schools, solver=pm.sequential()), num_warmup=20, num_samples=8,
        num_chains=num_chains, chain_method="vectorized", thinning=2, progress_bar=False,
    )  # fmt: skip
    data = SIGMA, EFFECTS
    mcmc.warmup(jax.random.key(0), *data, collect_warmup=True, extra_fields=("accept_prob",))
    during = mcmc.get_samples(group_by_chain=True)["theta"]
    assert "warmup_posterior" not in groups_of(pm.to_inference_data(mcmc))
    mcmc.run(jax.random.key(1), *data, extra_fields=("accept_prob",))
    data = pm.to_inference_data(mcmc, coords={"school": ["A", "B", "C"]}, log_likelihood=True)
    assert data["posterior"]["theta"].shape == (num_chains, 4, 3)
    np.testing.assert_array_equal(data["warmup_posterior"]["theta"], during)
    assert data["warmup_posterior"]["theta"].coords["school"].values.tolist() == ["A", "B", "C"]
    assert data["warmup_sample_stats"]["acceptance_rate"].shape == (num_chains, 10)
    assert data["warmup_sample_stats"].attrs["solver"] == "sequential"
    mcmc.warmup(jax.random.key(0), SIGMA, EFFECTS)
    mcmc.run(jax.random.key(1), SIGMA, EFFECTS)
    assert "warmup_posterior" not in groups_of(pm.to_inference_data(mcmc))


def groups_of(data):
    """Names of groups, of either major's container."""
    return data.groups() if callable(data.groups) else [name.strip("/") for name in data.groups]


def test_a_run_of_a_kernel_of_numpyros_is_left_to_arviz():
    with pytest.raises(TypeError, match=r"arviz\.from_numpyro"):
        pm.to_inference_data(MCMC(numpyro.infer.NUTS(one), num_warmup=1, num_samples=1))
