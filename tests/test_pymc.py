"""PyMC models: their functions in JAX, and their posteriors against PyMC's own sampler."""

import doctest
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._arviz import datasets_of

pymc = pytest.importorskip("pymc", reason="PyMC is not installed: the extra pymc")

import arviz  # noqa: E402
import pytensor  # noqa: E402
import pytensor.tensor as pt  # noqa: E402
from pymc_models import MODELS, eight_schools, logistic, missing  # noqa: E402

FEW = {"draws": 30, "tune": 0, "chains": 2, "progressbar": False, "random_seed": 3}
"""Without a warm-up, for what does not hang on the posterior."""


@pytest.fixture(autouse=True, scope="module")
def precision_of_other_tests():
    """PyTensor's JAX backend switches double precision on when it is imported."""
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def few(model, **options):
    return pm.sample_pymc(model, **{"compute_convergence_checks": False, **FEW, **options})


@pytest.mark.parametrize("make", [*MODELS, missing])
def test_density_and_variables_are_those_of_pymc(make, double_precision):
    model = make()
    found = pm.from_pymc(model)
    outputs = [v for v in model.unobserved_value_vars if not v.name.endswith("__")]
    # Without a compiler for C or numba, which would take most of the time.
    reference = model.compile_fn([model.logp(), *outputs], mode="FAST_COMPILE")
    rng = np.random.default_rng(0)
    for _ in range(3):
        z = {name: x + rng.uniform(-1, 1, x.shape) for name, x in found.position.items()}
        logdensity, *values = reference({name: np.asarray(x) for name, x in z.items()})
        np.testing.assert_allclose(found.logdensity_fn(z), logdensity, rtol=1e-9)
        constrained = found.constrain(z)
        assert sorted(constrained) == sorted(v.name for v in outputs)
        for variable, value in zip(outputs, values, strict=True):
            np.testing.assert_allclose(constrained[variable.name], value, 1e-9, 1e-12)


def test_results_have_the_groups_dims_and_coords_of_the_model():
    data = few(eight_schools(), log_likelihood=True)
    posterior = data["posterior"]
    assert set(posterior.data_vars) == {"mu", "tau", "z", "theta"}
    assert posterior["theta"].dims == ("chain", "draw", "school")
    assert posterior["theta"].shape == (2, 30, 8)
    assert posterior["school"].values.tolist() == list("ABCDEFGH")
    expected = posterior["mu"] + posterior["tau"] * posterior["z"]
    np.testing.assert_allclose(expected, posterior["theta"])
    assert (posterior["tau"] > 0).all()
    assert data["observed_data"]["obs"].dims == data["constant_data"]["sigma"].dims == ("school",)
    assert data["log_likelihood"]["obs"].dims == ("chain", "draw", "school")
    variances = data["constant_data"]["sigma"] ** 2
    squares = (data["observed_data"]["obs"] - posterior["theta"]) ** 2
    terms = -squares / variances / 2 - np.log(2 * np.pi * variances) / 2
    np.testing.assert_allclose(
        data["log_likelihood"]["obs"], terms.transpose("chain", "draw", "school")
    )
    stats = data["sample_stats"]
    assert {"lp", "energy", "acceptance_rate", "diverging", "n_steps"} <= set(stats.data_vars)
    attrs = posterior.attrs
    assert attrs["inference_library"] == "parallel_mcmc" and attrs["tuning_steps"] == 0
    assert attrs["pymc_version"] == pymc.__version__ and attrs["sampling_time"] > 0


def test_the_same_seed_gives_the_same_draws_whichever_solver_computes_them():
    model = eight_schools()
    options = {"chains": 1, "step_size": 0.3, "trajectory_length": 0.9}
    one = few(model, solver=pm.sequential(), **options)["posterior"]
    again = few(model, solver=pm.deer(), **options)["posterior"]
    other = few(model, solver=pm.deer(), **options | {"random_seed": 4})["posterior"]
    assert again.attrs["solver"] == "deer" and one["mu"].shape == (1, 30)
    for name in "mu", "tau", "theta":
        np.testing.assert_allclose(one[name], again[name], rtol=1e-6, atol=1e-8)
        assert np.all(one[name] != other[name])


def test_the_model_of_the_context_is_taken_and_thinning_keeps_the_number_of_draws():
    with eight_schools():
        data = pm.sample_pymc(thinning=3, compute_convergence_checks=False, **FEW)
    assert data["posterior"]["z"].shape == (2, 30, 8)


def test_data_are_those_of_the_call():
    model = logistic()
    before = pm.from_pymc(model)
    with model:
        pymc.set_data({"x": np.zeros((60, 3))})
    after = pm.from_pymc(model)
    z = {"intercept": jnp.array(0.5), "slope": jnp.ones(3)}
    assert jnp.ptp(after.constrain(z)["p"]) == 0 < jnp.ptp(before.constrain(z)["p"])


def test_an_invalid_parameter_has_density_zero_as_in_pymc():
    with pymc.Model() as model:
        scale = pymc.Normal("scale")
        pymc.Normal("y", 0, scale, observed=[1.0])
    found = pm.from_pymc(model)
    assert found.logdensity_fn({"scale": jnp.array(-1.0)}) == -jnp.inf
    assert jnp.isfinite(found.logdensity_fn({"scale": jnp.array(1.0)}))


def test_a_start_outside_the_support_is_told_of():
    with pymc.Model() as model:
        x = pymc.Normal("x")
        pymc.Potential("never", pt.switch(x > 100, 0.0, -np.inf))
    with pytest.raises(ValueError, match=r"not finite at any of 11 starts of chain 0.*`initval`"):
        few(model)


class Opaque(pytensor.graph.op.Op):
    """An operation without an implementation in JAX."""

    itypes, otypes = [pt.dscalar], [pt.dscalar]

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0]


def with_discrete_variable():
    with pymc.Model() as model:
        pymc.Poisson("count", 3)
    return model


def without_free_variables():
    with pymc.Model() as model:
        pymc.Normal("y", 0, 1, observed=[1.0])
    return model


def with_opaque_operation():
    with pymc.Model() as model:
        pymc.Normal("y", Opaque()(pymc.Normal("x")), 1, observed=1.0)
    return model


@pytest.mark.parametrize("run", [pm.from_pymc, pm.sample_pymc])
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (with_discrete_variable, ValueError, r"discrete free variables \(count\); sum them out"),
        (without_free_variables, ValueError, "nothing to sample; use `pymc.sample_prior"),
        (with_opaque_operation, NotImplementedError, r"Opaque.*; write that part .*`pymc.sample`"),
    ],
)
def test_models_that_cannot_be_are_refused_with_a_next_step(run, make, error, message):
    with pytest.raises(error, match=message):
        run(make())


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="target_accept"):
        few(eight_schools(), target_accept=0.9)


def test_without_pymc_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymc", None)
    with pytest.raises(ImportError, match=r"pip install 'parallel_mcmc\[pymc\]'"):
        pm.from_pymc()


def test_it_leaves_the_devices_of_the_process_alone():
    before = os.environ.get("XLA_FLAGS")
    pm.from_pymc(eight_schools())
    assert os.environ.get("XLA_FLAGS") == before


@pytest.mark.parametrize("name", ["from_pymc", "sample_pymc"])
def test_the_example_of_its_docstring_runs(name):
    result = doctest.testmod(sys.modules[getattr(pm, name).__module__])
    assert result.attempted and not result.failed


def moments(data):
    """Means and variances of all scalars, each with its Monte Carlo error."""
    draws = data["posterior"].to_dataset() if hasattr(data, "children") else data["posterior"]
    squares = (draws - draws.mean(("chain", "draw"))) ** 2
    return [(x.mean(("chain", "draw")), arviz.mcse(x, method="mean")) for x in (draws, squares)]


@pytest.mark.parametrize(
    "make", [m if m is eight_schools else pytest.param(m, marks=pytest.mark.slow) for m in MODELS]
)
def test_the_posterior_is_that_of_pymcs_nuts(make):
    model = make()
    data = pm.sample_pymc(model, draws=1_500, random_seed=1, progressbar=False)
    reference = pymc.sample(
        draws=1_500, chains=4, cores=1, random_seed=2, progressbar=False, model=model,
        nuts_sampler="pymc", target_accept=0.95, compile_kwargs={"mode": "NUMBA"},
    )  # fmt: skip
    assert set(data["posterior"].data_vars) == set(reference["posterior"].data_vars)
    groups = set(datasets_of(reference)) - {"sample_stats"}
    assert groups == set(datasets_of(data)) - {"sample_stats"}
    for group in groups:
        for name, expected in reference[group].data_vars.items():
            assert data[group][name].dims == expected.dims
            for dim in expected.dims:
                assert data[group][dim].values.tolist() == expected[dim].values.tolist()
    for (ours, our_error), (theirs, their_error) in zip(
        moments(data), moments(reference), strict=True
    ):
        for name in ours.data_vars:
            # Of two hundred numbers none is 4.5 errors off by chance. The diagonal of a
            # correlation matrix is constant, and has no error.
            error = np.nan_to_num(np.hypot(our_error[name], their_error[name]))
            off = np.abs(ours[name] - theirs[name])
            assert np.all(off <= 4.5 * error + 1e-9), (name, off.values, error)
