"""`pm.sample` over several devices: the same draws, and no device that holds a whole chain."""

import re
from itertools import chain
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chains import ATOL
from four_devices import (
    WHICH,
    on_four,
    over_both,
    over_chains,
    over_time,
    pass_on_four_devices,
    pieces_of,
    slow,
)

import parallel_mcmc as pm
from parallel_mcmc._mcmc import runs

pytestmark = pytest.mark.usefixtures("x64")
CHAINS, T = 4, 120
START = np.random.default_rng(0).normal(size=(CHAINS, 2))


def logdensity_fn(x):
    return -jnp.sum(x**2 / np.array([1, 4])) / 2


MALA = pm.mala(logdensity_fn, 0.9)
MESHES = {"time": over_time, "chains": over_chains}


def draws(mesh=None, start=START, **options):
    options = {"solver": pm.deer(), "num_chains": CHAINS, **options}
    return pm.sample(jax.random.key(0), MALA, start, T, mesh=mesh, **options)


def on_one_device(start=START, **options):
    return draws(None, jax.device_put(start, jax.devices()[0]), **options)


def assert_same_trace(many, one):
    """Up to rounding: a program for other shapes rounds the sums of a step in another order.

    So states may come to rest in one program and tremble in another, which takes more iterations;
    `test_mesh` compares these, of steps that round alike.
    """
    np.testing.assert_allclose(many.position, one.position, rtol=0, atol=ATOL)
    assert many.sample_stats.keys() == one.sample_stats.keys()
    for name, values in one.sample_stats.items():
        atol = 0 if values.dtype == bool else 100 * ATOL
        np.testing.assert_allclose(many.sample_stats[name], values, rtol=0, atol=atol)
    np.testing.assert_array_equal(many.solve.status, one.solve.status)


@on_four
@pytest.mark.parametrize("over", ["both", *(pytest.param(o, marks=slow) for o in MESHES)])
def test_draws_over_devices_are_those_of_one_device_and_stay_where_they_are_made(over):
    mesh = MESHES.get(over, over_both)()
    one, many = on_one_device(), draws(mesh)
    assert not np.all(one.sample_stats["accepted"])
    assert_same_trace(many, one)
    for array in (many.position, *many.sample_stats.values()):
        for axis, name, size in ((0, "chains", CHAINS), (1, "time", T)):
            number = mesh.shape.get(name, 1)
            assert {rows for _, rows in pieces_of(array, axis)} == {size // number}
            assert len(set(pieces_of(array, axis))) == number
    assert all(leaf.shape == (CHAINS,) for leaf in jax.tree.leaves(many.solve))


@slow
@on_four
def test_one_chain_is_cut_along_time():
    one = on_one_device(START[0], num_chains=1, solver=pm.quasi_deer())
    many = draws(over_time(), START[0], num_chains=1, solver=pm.quasi_deer())
    assert_same_trace(many, one)


@on_four
def test_chains_that_need_more_iterations_than_others_do_not_wait_for_them_for_ever():
    """Two devices solve chains from nearby; two others hold one that comes from far away."""
    start = np.concatenate([START[:3], np.full((1, 2), 300)])
    many = draws(over_both(), start)
    of_devices = np.max(many.solve.num_iterations.reshape(2, 2), axis=1)
    assert of_devices[0] < of_devices[1]
    assert_same_trace(many, on_one_device(start))


@on_four
def test_several_chains_go_over_the_devices_by_default():
    """Also with a progress bar, which is moved from all of them."""

    def devices_of(num_chains, start):
        options = {"num_chains": num_chains, "solver": pm.sequential(), "progress_bar": True}
        return len(draws(start=start, **options).position.devices())

    assert devices_of(4, START) == 4
    assert devices_of(3, START[:3]) == 3
    assert devices_of(1, START[0]) == 1
    assert devices_of(4, jax.device_put(START, jax.devices()[1])) == 1
    with jax.default_device(jax.devices()[1]):
        assert devices_of(4, START) == 1
    inside = jax.jit(lambda x: pm.sample(jax.random.key(0), MALA, x, 9, num_chains=4)[0])
    assert len(inside(START).devices()) == 1
    again = draws(start=draws(start=START).position[0, -1], num_chains=1)
    assert len(again.position.devices()) == 1


@on_four
def test_the_default_leaves_transformations_alone():
    """The data of a log density may be traced where key and start are not."""

    def draw(scale):
        kernel = pm.random_walk(lambda x: -jnp.sum((x / scale) ** 2), 0.7)
        return pm.sample(jax.random.key(0), kernel, START, 9, num_chains=4).position

    scales = jnp.array([0.5, 2.0])
    both = jax.vmap(draw)(scales)
    for scale, position in zip(scales, both, strict=True):
        np.testing.assert_allclose(position, draw(scale), atol=ATOL)


@on_four
def test_keys_whose_draws_depend_on_the_batch_stay_on_one_device():
    key = jax.random.key(0, impl="rbg")
    options = {"num_chains": CHAINS, "solver": pm.sequential()}
    trace = pm.sample(key, MALA, START, 9, **options)
    assert len(trace.position.devices()) == 1
    with pytest.raises(ValueError, match="kind rbg"):
        pm.sample(key, MALA, START, 8, mesh=over_chains(), **options)


@on_four
def test_chains_on_several_devices_are_stored(tmp_path):
    stored = draws(start=START, store=tmp_path / "run.zarr", window=50)
    np.testing.assert_allclose(stored.position[:], draws(start=START).position, atol=ATOL)
    with pytest.raises(ValueError, match="without the axis 'time'"):
        draws(over_time(), store=tmp_path / "other.zarr")


@on_four
@pytest.mark.parametrize("over", ["both", pytest.param("time", marks=slow)])
def test_step_by_step_devices_take_turns(over):
    one = on_one_device(solver=pm.sequential())
    assert_same_trace(draws(MESHES.get(over, over_both)(), solver=pm.sequential()), one)


@slow
@on_four
def test_a_kernel_that_depends_on_batching_runs_step_by_step(monkeypatch):
    """The solve sees steps of other lengths than the last pass: nobody's chain."""
    plain = runs.recursion

    def recursion(transition):
        return lambda x, u: 1.01 * plain(transition)(x, u)

    expected = on_one_device(START[0], num_chains=1, solver=pm.sequential())
    monkeypatch.setattr(runs, "recursion", recursion)
    jax.clear_caches()
    with pytest.warns(pm.ConvergenceWarning, match="came out otherwise in a second evaluation"):
        many = draws(over_time(), START[0], num_chains=1, solver=pm.jacobi())
    np.testing.assert_allclose(many.position, expected.position, rtol=0, atol=ATOL)
    assert int(many.solve.num_sequential_steps[0]) == T


def program(mesh, num_samples):
    kernel = pm.random_walk(logdensity_fn, 0.5)

    def run(key):
        options = {"solver": pm.quasi_deer(), "mesh": mesh}
        return pm.sample(key, kernel, START[0], num_samples, **options)[:3]

    return jax.jit(run).lower(jax.random.key(0)).compile()


@on_four
def test_what_crosses_between_devices_does_not_grow_with_the_chain():
    def crossing(num_samples):
        sent = r"= \(?(\w+\[[^=]*?) (?:all-gather|all-reduce|all-to-all|collective\S*)\("
        found = re.findall(sent, program(over_time(), num_samples).as_text())
        shapes = [re.findall(r"\[(\d[\d,]*)\]", shapes) for shapes in found]
        return [prod(map(int, shape.split(","))) for shape in chain.from_iterable(shapes)]

    short, long = crossing(4_096), crossing(16_384)
    assert len(short) == len(long) > 5
    # The most are the 256 rows, with two numbers each, from which the spread is estimated.
    assert max(short) == max(long) == 512


@slow
@on_four
def test_a_device_of_four_needs_a_quarter_of_the_memory():
    sizes = [program(mesh, 16_384).memory_analysis() for mesh in (None, over_time())]
    assert sizes[1].temp_size_in_bytes < 0.3 * sizes[0].temp_size_in_bytes
    assert sizes[1].output_size_in_bytes < 0.3 * sizes[0].output_size_in_bytes


WHAT_DOES_NOT_FIT = {
    "chains": ({"num_chains": 3, "start": START[:3]}, "take 2 or 4 chains"),
    "steps": ({"num_chains": 2, "start": START[:2], "T": 121}, "take 120 or 122 steps"),
    "window": ({"window": 30}, "leave the window out"),
    "diagnosis": ({"diagnose": True}, "shorter run"),
}


@on_four
@pytest.mark.parametrize("what", WHAT_DOES_NOT_FIT)
def test_what_does_not_fit_is_refused_with_a_next_step(what):
    options, message = WHAT_DOES_NOT_FIT[what]
    options = {"num_chains": CHAINS, "start": START, "T": T, **options}
    start, steps = options.pop("start"), options.pop("T")
    with pytest.raises(ValueError, match=message):
        pm.sample(jax.random.key(0), MALA, start, steps, mesh=over_both(), **options)


@pytest.mark.parametrize("which", WHICH)
def test_these_tests_pass_on_four_devices(which):
    pass_on_four_devices(__file__, which)
