"""`pm.sample` with a store: the same draws, in windows, continued and extended."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
import zarr
from stored_runs import KERNEL, START, assert_equal, draws_of, files_of, run

import parallel_mcmc as pm
from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._store.store import Store
from parallel_mcmc._store.windows import combined


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zarr"


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run.zarr"


@pytest.fixture(scope="module")
def whole(whole_store):
    """An uninterrupted run of two windows and a half."""
    return run(50, whole_store)


def test_the_draws_are_those_without_a_store(path):
    stored, plain = draws_of(run(50, path)), draws_of(run(50))
    assert stored.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(stored[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("first", [7, 20, 33, 49])
def test_an_extended_run_is_the_run_in_one_go(first, path, whole):
    run(first, path)
    assert_equal(run(50, path), whole)


def test_it_is_so_by_default_and_with_a_solver(path, tmp_path):
    kernel = pm.mala(lambda x: -0.5 * jnp.sum(x["a"] ** 2) - x["b"] ** 2, 0.3)
    default = {"kernel": kernel, "solver": pm.jacobi(), "window": None}
    run(30, path, **default)
    assert_equal(run(80, path, **default), run(80, tmp_path / "whole.zarr", **default))


def test_a_finished_run_is_read_and_not_changed(path, whole):
    run(50, path)
    before = files_of(path)
    assert_equal(run(50, path), whole)
    assert files_of(path) == before


def test_a_start_that_was_killed_is_no_hindrance(path, whole):
    (path.parent / ".run.zarr.new" / "sampler_state").mkdir(parents=True)
    assert_equal(run(50, path), whole)
    assert not (path.parent / ".run.zarr.new").exists()


def test_no_more_steps_are_taken_than_asked_for(path):
    assert run(7, path).solve.num_sequential_steps.tolist() == [7, 7]


def test_the_window_is_that_of_the_store(path, whole):
    run(20, path)
    assert_equal(run(50, path, window=11), whole)


def test_solvers_run_window_by_window(path):
    kernel = pm.mala(lambda x: -0.5 * jnp.sum(x["a"] ** 2) - x["b"] ** 2, 0.3)
    trace = run(50, path, kernel=kernel, solver=pm.deer())
    plain = run(50, kernel=kernel, solver=pm.deer(), window=None)
    np.testing.assert_allclose(trace.position["a"][:], plain.position["a"], atol=1e-4)
    assert trace.solve.status.tolist() == [0, 0]
    assert (trace.solve.num_iterations > plain.solve.num_iterations).all()
    assert "2 of 2 chains" in repr(trace) and "50 draws" in repr(trace)


def test_blackjax_kernels_are_stored(path):
    import blackjax

    kernel = blackjax.rmh(
        lambda x: -0.5 * jnp.sum(x["a"] ** 2) - x["b"] ** 2,
        blackjax.mcmc.random_walk.normal(jnp.eye(4) * 0.5),
    )
    run(25, path, kernel=kernel)
    again = run(50, path, kernel=kernel)
    np.testing.assert_allclose(
        again.position["a"][:], run(50, kernel=kernel).position["a"], atol=1e-6
    )


# Refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, word",
    [
        ({"seed": 1}, "rng_key"),
        ({"kernel": pm.random_walk(lambda x: -jnp.sum(x["a"] ** 2) - x["b"] ** 4, 0.7)}, "kernel"),
        ({"kernel": pm.random_walk(lambda x: -(x["b"] ** 4) - 0 * x["a"].sum(), 0.7)}, "kernel"),
        ({"start": jax.tree.map(lambda leaf: leaf + 1, START)}, "initial_position"),
        ({"solver": pm.picard(tol=1e-3)}, "solver"),
    ],
    ids=["key", "scale", "density", "start", "solver"],
)
def test_another_run_is_refused_and_nothing_is_changed(changed, word, path):
    run(20, path)
    before = files_of(path)
    with pytest.raises(pm.StoreError, match=f"another .*{word}"):
        run(40, path, **changed)
    assert files_of(path) == before


def test_other_data_of_the_same_shape_are_refused(path):
    def kernel(data):
        return pm.random_walk(lambda x: -jnp.sum((x["a"] - data) ** 2) - x["b"] ** 2, 0.5)

    run(20, path, kernel=kernel(jnp.arange(3.0)))
    run(40, path, kernel=kernel(np.arange(3.0, dtype=np.float32)))
    with pytest.raises(pm.StoreError, match="data"):
        run(60, path, kernel=kernel(jnp.arange(3.0) + 1))


def test_fewer_draws_than_there_are_are_refused(path):
    run(40, path)
    with pytest.raises(pm.StoreError, match="40 draws of each chain, more than the 20"):
        run(20, path)


def test_a_second_writer_is_refused(path):
    with Store(path), pytest.raises(pm.StoreError, match="Another process is writing"):
        run(20, path)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"zarr_format": 3, "node'])
def test_what_is_no_store_is_refused_and_left_alone(content, path):
    path.mkdir()
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(pm.StoreError, match="cannot be read as a store"):
        run(20, path)
    assert (path / "zarr.json").read_bytes() == content


def test_a_file_is_refused(path):
    path.write_text("mine")
    with pytest.raises(pm.StoreError, match="is a file, not a store"):
        run(20, path)
    assert path.read_text() == "mine"


def test_a_store_without_draws_says_so(path):
    with Store(path) as store:
        store.begin({"identity": {}, "rows": 20}, [np.zeros(2)])
    with pytest.raises(pm.StoreError, match="no draws yet"):
        pm.open_store(path)


def test_names_that_zarr_cannot_hold_are_refused(path):
    kernel = pm.random_walk(lambda x: -jnp.sum(x["a/b"] ** 2), 0.7)
    with pytest.raises(ValueError, match="cannot hold 'a/b'"):
        run(20, path, kernel=kernel, start={"a/b": jnp.zeros(2)})


def test_a_model_that_calls_back_to_python_is_refused(path):
    def logdensity_fn(x):
        return jax.pure_callback(
            lambda x: -np.sum(x**2, dtype=x.dtype), jax.ShapeDtypeStruct((), x["b"].dtype), x["b"],
            vmap_method="sequential",
        )  # fmt: skip

    with pytest.raises(pm.StoreError, match="calls back to Python"):
        run(20, path, kernel=pm.random_walk(logdensity_fn, 0.7))


def test_a_run_with_a_store_is_not_diagnosed(path):
    with pytest.raises(ValueError, match="diagnose a short run"):
        pm.sample(jax.random.key(0), KERNEL, START, 9, num_chains=2, store=path, diagnose=True)


# Damage, and readers ---------------------------------------------------------------------


def damage_nothing_left(file):
    file.unlink()


def damage_cut(file):
    file.write_bytes(file.read_bytes()[:7])


def damage_zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


LAST_WINDOWS = {
    "draws": ["posterior/a/c/0/2/0"],
    "two windows": ["posterior/a/c/0/2/0", "posterior/a/c/0/1/0"],
    "index": ["posterior/draw/c/2"],
    "state": ["sampler_state/state.0/c/3/0/0"],
    "report": ["sampler_state/solve.num_sequential_steps/c/2/0"],
    "checksum": ["sampler_state/checksum/c/3"],
    "draws and checksum": ["posterior/a/c/0/2/0", "sampler_state/checksum/c/3"],
    "metadata": ["zarr.json"],
}


@pytest.mark.parametrize("damage", [damage_nothing_left, damage_cut, damage_zeros])
@pytest.mark.parametrize("files", LAST_WINDOWS.values(), ids=LAST_WINDOWS)
def test_damaged_last_windows_are_found_and_made_anew(damage, files, path, whole, whole_store):
    shutil.copytree(whole_store, path)
    for file in files:
        damage(path / file)
    assert_equal(run(50, path), whole)
    run(70, path)


def test_a_damaged_start_is_refused(path):
    run(20, path)
    for state in (0, 1):
        damage_nothing_left(path / f"sampler_state/state.0/c/{state}/0/0")
    with pytest.raises(pm.StoreError, match="damaged from its start on"):
        run(40, path)


def test_readers_see_complete_windows_alone(path, whole):
    run(40, path)
    draws = zarr.open_group(path / "posterior", mode="r+", use_consolidated=False)["a"]
    draws.resize((2, 60, 3))  # as where a writer was killed
    data = pm.open_store(path)
    assert data["posterior"].sizes["draw"] == 40
    assert data["posterior"]["draw"].values.tolist() == list(range(40))
    assert_equal(run(50, path), whole)


def test_arviz_reads_the_store(path):
    trace = run(50, path)
    posterior = pm.open_store(path)["posterior"]
    np.testing.assert_array_equal(posterior["b"], trace.position["b"][:])
    assert posterior.attrs["solver"] == "sequential"
    assert posterior.attrs["solve_sequential_steps"] == [50, 50]
    tree = xarray.open_datatree(path, engine="zarr", consolidated=True)
    assert {"posterior", "sample_stats"} <= set(tree.children)


def test_one_report_on_several_solves():
    by_field = dict.fromkeys(SolveInfo._fields, np.array([[1, 2], [3, 4], [5, 6]]))
    by_field["frontier"] = np.array([[20, 20], [20, 7], [20, 20]])
    by_field["status"] = np.array([[0, 0], [0, 1], [0, 0]])
    found = combined(by_field, 20)
    assert found.frontier.tolist() == [60, 27]
    assert found.status.tolist() == [0, 1]
    assert found.num_iterations.tolist() == [9, 12]
    assert found.residual.tolist() == [5, 6]
