"""The models that NumPyro's users have, and the errors they make."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive
from numpyro_runs import CLASSES, EFFECTS, SIGMA, one, run, school_run, schools

import parallel_mcmc as pm


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


def test_a_reparameterised_model_has_its_sites_and_predicts():
    samples = school_run().get_samples()
    assert {"mu", "tau", "theta", "theta_decentered"} == set(samples)
    centred = samples["mu"][:, None] + samples["tau"][:, None] * samples["theta_decentered"]
    np.testing.assert_allclose(samples["theta"], centred, rtol=1e-4, atol=1e-4)
    predicted = Predictive(school_run().sampler.model, samples)(jax.random.key(1), SIGMA)
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
    from parallel_mcmc._numpyro.metric import unwhiten, whiten

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
        (lambda: pm.ParallelHMC(one, step_size_jitter=-0.1), "step_size_jitter must be"),
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
