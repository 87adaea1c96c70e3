"""The models that NumPyro's users have, the errors they make, and ArviZ."""

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, Predictive
from numpyro.infer.reparam import LocScaleReparam

import parallel_mcmc as pm

CLASSES = {"numpyro": MCMC, "pm": pm.MCMC}


def run(kernel, *args, cls="pm", num_warmup=20, num_samples=25, init_params=None, **options):
    mcmc = CLASSES[cls](
        kernel, num_warmup=num_warmup, num_samples=num_samples, progress_bar=False, **options
    )
    mcmc.run(jax.random.key(0), *args, init_params=init_params)
    return mcmc


def supports():
    with numpyro.plate("groups", 2):
        numpyro.sample("positive", dist.Gamma(3.0, 1.0))
    numpyro.sample("simplex", dist.Dirichlet(jnp.ones(3)))
    numpyro.sample("cholesky", dist.LKJCholesky(3, 2.0))
    ordered = dist.constraints.ordered_vector
    cuts = numpyro.sample("cuts", dist.ImproperUniform(ordered, (), (3,)))
    numpyro.factor("prior", dist.Normal(0, 2).log_prob(cuts).sum())
    numpyro.deterministic("total", cuts.sum())


@pytest.mark.slow
@pytest.mark.parametrize("cls", ["pm", pytest.param("numpyro", marks=pytest.mark.thorough)])
def test_draws_lie_in_the_supports_of_their_sites(cls):
    mcmc = run(pm.ParallelHMC(supports, step_size=0.2), cls=cls, num_warmup=0)
    samples = jax.device_get(mcmc.get_samples())
    assert samples["positive"].shape == (25, 2) and np.all(samples["positive"] > 0)
    np.testing.assert_allclose(samples["simplex"].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose((samples["cholesky"] ** 2).sum(-1), 1, rtol=1e-5)
    assert np.all(np.diff(samples["cuts"]) > 0)
    np.testing.assert_allclose(samples["total"], samples["cuts"].sum(-1), rtol=1e-4)
    assert "total" not in mcmc.last_state.z


def schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfNormal(5.0))
    with numpyro.plate("school", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)


SIGMA, EFFECTS = np.array([15.0, 10.0, 16.0]), np.array([28.0, 8.0, -3.0])


@pytest.fixture(scope="module")
def school_run():
    reparam = numpyro.handlers.reparam(schools, config={"theta": LocScaleReparam(0.0)})
    return run(pm.ParallelHMC(reparam), SIGMA, EFFECTS, num_chains=2, chain_method="vectorized")


def test_a_reparameterised_model_has_its_sites_and_predicts(school_run):
    samples = school_run.get_samples()
    assert {"mu", "tau", "theta", "theta_decentered"} == set(samples)
    centred = samples["mu"][:, None] + samples["tau"][:, None] * samples["theta_decentered"]
    np.testing.assert_allclose(samples["theta"], centred, rtol=1e-4, atol=1e-4)
    predicted = Predictive(school_run.sampler.model, samples)(jax.random.key(1), SIGMA)
    assert predicted["obs"].shape == (50, 3)


def mixture(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    with numpyro.plate("data", y.shape[0]):
        component = numpyro.sample(
            "component", dist.Bernoulli(0.5), infer={"enumerate": "parallel"}
        )
        numpyro.sample("y", dist.Normal(mu[component], 1.0), obs=y)


@pytest.mark.slow
def test_discrete_sites_are_enumerated_out():
    pytest.importorskip("funsor")
    y = np.array([-2.0, -1.5, 1.0, 2.0])
    mcmc = run(pm.ParallelHMC(mixture), y, num_samples=10)
    assert set(mcmc.get_samples()) == {"mu"}
    mu = np.asarray(mcmc.last_state.z["mu"])
    prior = dist.Normal(0.0, 2.0).log_prob(mu).sum()
    terms = dist.Normal(mu, 1.0).log_prob(y[:, None]) + jnp.log(0.5)
    likelihood = jax.nn.logsumexp(terms, axis=-1).sum()
    np.testing.assert_allclose(mcmc.last_state.potential_energy, -prior - likelihood, rtol=1e-5)


# A potential, metrics and starts.


def potential(z):
    return (z[0] ** 2 + jnp.sum(z[1] ** 2)) / 2


def test_a_potential_of_any_pytree_will_do():
    start = (jnp.zeros(()), jnp.ones(2))
    mcmc = run(pm.ParallelHMC(potential_fn=potential), init_params=start)
    assert [leaf.shape for leaf in mcmc.get_samples()] == [(25,), (25, 2)]


BLOCK = {("mu", "tau"): np.array([[2.0, 0.5], [0.5, 1.0]])}


@pytest.mark.parametrize(
    "dense_mass, matrix",
    [(True, None), (False, None), ([("mu", "tau")], BLOCK)],
    ids=["dense", "diagonal", "block"],
)
def test_whitening_is_undone(dense_mass, matrix):
    from parallel_mcmc.interop.numpyro_metric import unwhiten, whiten

    def two(sigma):
        numpyro.sample("mu", dist.Normal(0.0, 2.0))
        numpyro.sample("tau", dist.HalfNormal(1.0))
        numpyro.sample("theta", dist.Normal(0.0, sigma))

    kernel = pm.ParallelHMC(two, dense_mass=dense_mass, inverse_mass_matrix=matrix)
    state = kernel.init(jax.random.key(0), 20, None, (SIGMA,), {})
    w = whiten(state.z, state.adapt_state)
    np.testing.assert_allclose(w, state.x, rtol=1e-6)
    z = unwhiten(w, state.z, state.adapt_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), z, state.z)
    if matrix is not None:
        block = np.array([state.z["mu"], state.z["tau"]])
        found = float(jnp.sum(w[:2] ** 2))
        expected = block @ np.linalg.solve(matrix["mu", "tau"], block)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert set(matrix) == {("mu", "tau")}  # NumPyro writes into a dict that it is given


def test_a_start_is_taken_as_given():
    start = {"mu": jnp.array([1.0, 2.0]), "tau": jnp.array([0.5, 0.1]), "theta": jnp.zeros((2, 3))}
    kernel = pm.ParallelHMC(schools)
    keys = jax.random.split(jax.random.key(0))
    state = kernel.init(keys, 10, start, (SIGMA, EFFECTS), {})
    jax.tree.map(np.testing.assert_array_equal, state.z, start)


# Errors: a sentence with a next step, or what NumPyro raises.


def nothing():
    numpyro.deterministic("x", jnp.ones(2))


def counts():
    numpyro.sample("n", dist.Poisson(3.0))


def impossible():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("never", jnp.where(x > 100, 0.0, -jnp.inf))


def one():
    numpyro.sample("x", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    "model, options, error, message",
    [
        (nothing, {}, ValueError, "no continuous latent site"),
        (counts, {}, RuntimeError, "enumerate support"),
        (impossible, {}, RuntimeError, "Cannot find valid initial parameters"),
        (impossible, {"init_params": {"x": jnp.zeros(())}}, RuntimeError, "valid initial"),
        (one, {"init_params": {"x": jnp.zeros(2)}}, ValueError, r"shapes \{'x': \(\)\}"),
        (one, {"init_params": {"y": jnp.zeros(())}}, ValueError, "unconstrained values of shapes"),
        (one, {"init_params": {"x": jnp.array(jnp.inf)}}, ValueError, "not finite at the init"),
        (one, {"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ],
    ids=["no site", "discrete", "no start", "no start given", "shape", "name", "infinite", "zero"],
)
def test_mistakes_are_told(model, options, error, message):
    with pytest.raises(error, match=message):
        run(pm.ParallelHMC(model), **options)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_unknown_field_is_told(cls):
    mcmc = CLASSES[cls](pm.ParallelHMC(one), num_warmup=0, num_samples=5, progress_bar=False)
    with pytest.raises((AttributeError, TypeError)):  # what NumPyro raises for its own kernels
        mcmc.run(jax.random.key(0), extra_fields=("nonsense",))


@pytest.mark.parametrize("cls", CLASSES)
def test_a_site_to_leave_out_that_is_not_there_is_told(cls):
    kernel = pm.ParallelRandomWalk(one, solver=pm.sequential())
    mcmc = CLASSES[cls](kernel, num_warmup=0, num_samples=5, progress_bar=False)
    with pytest.raises(KeyError, match="nonsense"):
        mcmc.run(jax.random.key(0), extra_fields=("~z.nonsense",))


@pytest.mark.parametrize("cls", CLASSES)
def test_the_chain_that_cannot_start_is_named_where_there_are_several(cls):
    starts, kernel = {"x": jnp.array([0.0, jnp.nan])}, pm.ParallelRandomWalk(one)
    for method, named in (("vectorized", "init_params of chain 1;"), ("sequential", "params;")):
        mcmc = CLASSES[cls](
            kernel, num_warmup=0, num_samples=5, num_chains=2, chain_method=method,
            progress_bar=False,
        )  # fmt: skip
        with pytest.raises(ValueError, match=named):
            mcmc.run(jax.random.key(0), init_params=starts)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: pm.ParallelHMC(), "either `model` or `potential_fn`"),
        (lambda: pm.ParallelMALA(one, potential), "either `model` or `potential_fn`"),
        (lambda: pm.ParallelHMC(one, trajectory_length=None), "Give `trajectory_length`"),
        (lambda: pm.ParallelHMC(one, window=0), "window must be at least 1"),
        (lambda: pm.ParallelHMC(one, trajectory_length=-1.0), "must be positive"),
        (lambda: pm.ParallelHMC(one, num_steps=0), "at least one step"),
        (lambda: run(pm.ParallelGibbs(counts, [])), r"discrete sites \['n'\]"),
        (lambda: run(pm.ParallelHMC(potential_fn=potential)), "pass `init_params`"),
        (lambda: run(pm.ParallelGibbs(None, [])), "pass `init_params`"),
    ],
)
def test_arguments_that_do_not_fit_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_fixed_number_of_steps_and_a_length_leave_no_step_size_to_adapt():
    with pytest.warns(UserWarning, match="cannot be adapted"):
        kernel = pm.ParallelHMC(one, num_steps=4)
    assert run(kernel).last_state.adapt_state.step_size == pytest.approx(np.pi / 8)


# ArviZ.


@pytest.mark.parametrize("make", [arviz.from_numpyro, pm.to_inference_data])
def test_arviz_reads_a_run(make, school_run):
    data = make(school_run, log_likelihood=True, coords={"school": ["A", "B", "C"]})
    assert data["posterior"]["theta"].shape == (2, 25, 3)
    assert data["posterior"]["theta"].coords["school"].values.tolist() == ["A", "B", "C"]
    assert data["log_likelihood"]["obs"].shape == (2, 25, 3)
    assert data["sample_stats"]["diverging"].shape == (2, 25)


def test_statistics_have_their_names_in_arviz_and_the_report_its_attributes():
    kernel = pm.ParallelHMC(one, solver=pm.jacobi())
    mcmc = pm.MCMC(kernel, num_warmup=0, num_samples=20, progress_bar=False)
    fields = ("potential_energy", "accept_prob", "adapt_state.step_size", "energy")
    mcmc.run(jax.random.key(0), extra_fields=fields)
    data = pm.to_inference_data(mcmc)
    stats = data["sample_stats"]
    assert set(stats.data_vars) == {"lp", "acceptance_rate", "step_size", "energy", "diverging"}
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
        pytest.param(
            pm.MCMC, "gpu", ": a pilot of 20 steps took", marks=pytest.mark.thorough, id="pilot"
        ),
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
