"""A trace as ArviZ's container: one test file for both majors, as there is one code path."""

import arviz
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

SCHOOLS = ["Choate", "Deerfield", "Andover"]
NUM_CHAINS, NUM_SAMPLES = 2, 100
START = {"mu": np.zeros(NUM_CHAINS), "theta": {"school": np.zeros((NUM_CHAINS, 3))}}


def logdensity_fn(x):
    return -(x["mu"] ** 2 + jnp.sum((x["theta"]["school"] - x["mu"]) ** 2)) / 2


def draw(kernel, start=START, **options):
    options = {"num_chains": NUM_CHAINS, "solver": pm.deer()} | options
    return pm.sample(jax.random.key(0), kernel, start, NUM_SAMPLES, **options)


@pytest.fixture(scope="module")
def trace():
    return draw(pm.hmc(logdensity_fn, 0.4, num_integration_steps=4))


@pytest.fixture(scope="module")
def data(trace):
    return trace.to_inference_data()


def test_draws_and_statistics_have_their_groups(trace, data):
    assert {"posterior", "sample_stats"} <= {str(group).strip("/") for group in groups(data)}
    assert set(data["posterior"].data_vars) == {"mu", "theta.school"}
    assert data["posterior"]["mu"].dims == ("chain", "draw")
    assert data["posterior"]["theta.school"].dims[:2] == ("chain", "draw")
    np.testing.assert_array_equal(data["posterior"]["mu"].values, trace.position["mu"])
    np.testing.assert_array_equal(
        data["posterior"]["theta.school"].values, trace.position["theta"]["school"]
    )


def groups(data):
    """Names in both majors: a method of `InferenceData`, a property of `DataTree`."""
    return data.groups() if callable(data.groups) else data.groups


def test_statistics_have_the_names_of_the_schema(trace, data):
    names = {"lp", "acceptance_rate", "accepted", "diverging", "energy", "n_steps", "step_size"}
    stats = data["sample_stats"]
    assert set(stats.data_vars) == names
    for name in names:
        assert stats[name].dims == ("chain", "draw")
        np.testing.assert_array_equal(stats[name].values, trace.sample_stats[name])
    assert stats["diverging"].dtype == bool
    assert np.all(stats["n_steps"] == 4)


def test_trees_of_nuts_have_their_names():
    algorithm = blackjax.nuts(logdensity_fn, 0.5, np.ones(4), max_num_doublings=3)
    stats = draw(algorithm, solver=pm.sequential()).to_inference_data()["sample_stats"]
    assert {"lp", "acceptance_rate", "diverging", "energy", "n_steps", "tree_depth"} <= set(
        stats.data_vars
    )
    assert np.all(stats["tree_depth"] <= 3) and np.all(stats["n_steps"] >= 1)


def test_a_kernel_without_statistics_has_no_group_for_them():
    block = pm.GibbsBlock(jax.random.normal, lambda x, z: {"mu": x["mu"] / 2 + z})
    data = draw(pm.gibbs([block]), {"mu": np.zeros(2)}).to_inference_data()
    assert {str(group).strip("/") for group in groups(data)} - {""} == {"posterior"}
    assert data["posterior"].attrs["solver"] == "deer"


@pytest.mark.parametrize(
    "position, names",
    [
        (np.zeros((2, 3)), {"x": (2, 100, 3)}),
        pytest.param(
            {"beta": np.zeros((2, 3))}, {"beta": (2, 100, 3)}, marks=pytest.mark.slow
        ),  # as in the tests above
        ((np.zeros(2), np.zeros((2, 3))), {"0": (2, 100), "1": (2, 100, 3)}),
        (
            {"a": {"b": np.zeros((2, 2, 2)), "c": [np.zeros(2)]}},
            {"a.b": (2, 100, 2, 2), "a.c.0": (2, 100)},
        ),
    ],
    ids=["array", "dict", "tuple", "nested"],
)
def test_variables_are_named_by_their_place(position, names):
    def normal(x):
        return -sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x)) / 2

    posterior = draw(pm.mala(normal, 0.5), position).to_inference_data()["posterior"]
    assert {name: posterior[name].shape for name in posterior.data_vars} == names


@pytest.mark.parametrize("group", ["posterior", "sample_stats"])
def test_attributes_hold_the_report_of_the_solve_and_the_versions(trace, data, group):
    attrs = data[group].attrs
    assert attrs["inference_library"] == "parallel_mcmc"
    assert attrs["inference_library_version"] == pm.__version__
    assert attrs["jax_version"] == jax.__version__
    assert attrs["device"] == jax.devices()[0].device_kind
    assert "T" in attrs["created_at"]
    assert attrs["solver"] == "deer"
    assert attrs["tol"] == 0  # to the last bit
    assert attrs["window"] == NUM_SAMPLES
    assert attrs["max_iterations"] == 200
    assert attrs["solve_status"] == ["converged"] * NUM_CHAINS
    assert attrs["solve_iterations"] == trace.solve.num_iterations.tolist()
    assert attrs["solve_residual"] == trace.solve.residual.tolist()
    assert attrs["solve_frontier"] == [NUM_SAMPLES] * NUM_CHAINS
    assert attrs["solve_sequential_steps"] == [0] * NUM_CHAINS


def test_attributes_say_that_a_chain_was_finished_step_by_step():
    with pytest.warns(pm.ConvergenceWarning):
        kernel = pm.hmc(logdensity_fn, 0.4, num_integration_steps=4)
        short = draw(kernel, solver=pm.deer(max_iterations=1))
    attrs = short.to_inference_data()["posterior"].attrs
    assert attrs["solve_status"] == ["finished_sequentially"] * NUM_CHAINS
    assert min(attrs["solve_sequential_steps"]) > 0


def test_coordinates_and_dimensions_are_named_as_asked(trace):
    data = pm.to_inference_data(
        trace, coords={"school": SCHOOLS}, dims={"theta.school": ["school"]}
    )
    theta = data["posterior"]["theta.school"]
    assert theta.dims == ("chain", "draw", "school")
    assert theta.coords["school"].values.tolist() == SCHOOLS
    np.testing.assert_array_equal(
        theta.sel(school="Andover").values, trace.position["theta"]["school"][..., 2]
    )


def test_a_file_holds_all_of_it(trace, tmp_path):
    data = pm.to_inference_data(
        trace, coords={"school": SCHOOLS}, dims={"theta.school": ["school"]}
    )
    path = str(tmp_path / "trace.nc")
    data.to_netcdf(path)
    read = arviz.from_netcdf(path)
    for group in ("posterior", "sample_stats"):
        assert set(read[group].data_vars) == set(data[group].data_vars)
        for name in data[group].data_vars:
            np.testing.assert_array_equal(read[group][name].values, data[group][name].values)
        for name, value in data[group].attrs.items():
            # A list of numbers comes back as an array.
            assert np.array_equal(read[group].attrs[name], value), name
    assert read["posterior"].coords["school"].values.tolist() == SCHOOLS


def test_a_file_of_one_chain_reads_back(tmp_path):
    trace = draw(pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.5), np.zeros(2), num_chains=1)
    path = str(tmp_path / "trace.nc")
    trace.to_inference_data().to_netcdf(path)
    attrs = arviz.from_netcdf(path)["posterior"].attrs
    assert np.atleast_1d(attrs["solve_status"]).tolist() == ["converged"]
    assert np.atleast_1d(attrs["solve_iterations"]).tolist() == trace.solve.num_iterations.tolist()


def test_summaries_and_diagnostics_read_it(data):
    summary = arviz.summary(data)
    assert list(summary.index) == ["mu", *(f"theta.school[{i}]" for i in range(3))]
    rhat = arviz.rhat(data)
    ess = arviz.ess(data)
    for name in ("mu", "theta.school"):
        # Nearly independent draws, so close to 1 after 100 of them.
        assert np.all(np.abs(np.asarray(rhat[name]) - 1) < 0.1)
        assert np.all(np.asarray(ess[name]) > 20)
    assert float(np.asarray(rhat["mu"])) == pytest.approx(
        float(summary.loc["mu", "r_hat"]), abs=0.011
    )


def test_the_method_and_the_function_are_one(trace, data):
    other = pm.to_inference_data(trace)
    assert type(other) is type(data)
    assert set(other["posterior"].data_vars) == set(data["posterior"].data_vars)
