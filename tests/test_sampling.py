"""`pm.sample`: chains, windows, positions and keys."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chains import ATOL, MALA, NUM_SAMPLES, assert_same, logdensity_fn

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


def nested_logdensity_fn(x):
    return -(x["a"] ** 2 + jnp.sum(x["b"]["c"] ** 2) + jnp.sum((x["b"]["d"] - x["a"]) ** 2)) / 2


NESTED = {"a": np.float64(0.5), "b": {"c": np.ones(2), "d": np.zeros((2, 3))}}
HMC = blackjax.hmc(logdensity_fn, 0.3, np.ones(2), 5)


# Chains ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel, solver",
    [
        pytest.param(MALA, pm.deer(), id="mala-deer"),
        pytest.param(HMC, pm.jacobi(), id="blackjax-hmc-jacobi", marks=pytest.mark.slow),
        pytest.param(MALA, pm.sequential(), id="mala-sequential", marks=pytest.mark.slow),
    ],
)
def test_each_chain_is_the_chain_run_alone_with_its_key(kernel, solver):
    key, starts = jax.random.key(1), jnp.array([[0.0, 1.0], [2.0, -1.0], [-0.5, 0.5]])
    trace = pm.sample(key, kernel, starts, NUM_SAMPLES, num_chains=3, solver=solver)
    assert trace.position.shape == (3, NUM_SAMPLES, 2)
    assert all(leaf.shape == (3,) for leaf in trace.solve)
    for chain, chain_key in enumerate(jax.random.split(key, 3)):
        alone = pm.sample(chain_key, kernel, starts[chain], NUM_SAMPLES, solver=solver)
        assert_same(trace.position[chain], alone.position[0])
        for name, values in trace.sample_stats.items():
            assert_same(values[chain], alone.sample_stats[name][0])
        assert trace.solve.status[chain] == alone.solve.status[0] == pm.Status.CONVERGED
    assert np.ptp(trace.position[:, -1], axis=0).min() > 0  # the chains differ


@pytest.mark.parametrize("solver", [pm.deer(), pm.sequential()], ids=lambda solver: solver.name)
def test_one_chain_is_a_run_of_blackjax_with_the_same_key(solver):
    key, start = jax.random.key(2), jnp.array([0.5, -0.5])
    _, (states, infos) = blackjax.util.run_inference_algorithm(
        key, HMC, NUM_SAMPLES, initial_position=start
    )
    trace = pm.sample(key, HMC, start, NUM_SAMPLES, solver=solver)
    assert_same(trace.position[0], states.position)
    expected = {
        "lp": states.logdensity,
        "acceptance_rate": infos.acceptance_rate,
        "accepted": infos.is_accepted,
        "diverging": infos.is_divergent,
        "energy": infos.energy,
        "n_steps": infos.num_integration_steps,
    }
    assert set(trace.sample_stats) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(trace.sample_stats[name][0], values, rtol=0, atol=ATOL)


@pytest.mark.parametrize("window", [1, 7, 1000])
@pytest.mark.slow
def test_windows_do_not_change_the_draws(window):
    starts = jnp.ones((2, 2))
    expected = pm.sample(
        jax.random.key(3), MALA, starts, NUM_SAMPLES, num_chains=2, solver=pm.deer()
    )
    trace = pm.sample(
        jax.random.key(3), MALA, starts, NUM_SAMPLES, num_chains=2, window=window, solver=pm.deer()
    )
    assert_same(trace.position, expected.position)
    assert_same(trace.sample_stats, expected.sample_stats)
    assert trace.settings["window"] == min(window, NUM_SAMPLES)
    assert trace.solve.frontier.tolist() == [NUM_SAMPLES] * 2


def test_one_draw_is_a_chain_too():
    trace = pm.sample(jax.random.key(3), MALA, jnp.ones(2), 1, solver=pm.deer())
    expected = pm.sample(jax.random.key(3), MALA, jnp.ones(2), 1, solver=pm.sequential())
    assert_same(trace.position, expected.position)


# Positions and keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel, num_chains",
    [
        pytest.param(pm.random_walk(nested_logdensity_fn, 0.5), 1, id="random_walk-1"),
        pytest.param(pm.hmc(nested_logdensity_fn, 0.2), 2, id="hmc-2", marks=pytest.mark.slow),
        pytest.param(blackjax.mala(nested_logdensity_fn, 0.2), 2, id="blackjax-mala-2"),
    ],
)
def test_nested_positions_with_scalars_keep_their_structure(kernel, num_chains):
    start = NESTED
    if num_chains > 1:
        start = jax.tree.map(lambda leaf: np.stack([leaf] * num_chains), NESTED)
    options = {"num_chains": num_chains}
    trace = pm.sample(jax.random.key(4), kernel, start, NUM_SAMPLES, solver=pm.deer(), **options)
    assert jax.tree.structure(trace.position) == jax.tree.structure(NESTED)
    for draws, leaf in zip(jax.tree.leaves(trace.position), jax.tree.leaves(NESTED), strict=True):
        assert draws.shape == (num_chains, NUM_SAMPLES, *leaf.shape)
    expected = pm.sample(
        jax.random.key(4), kernel, start, NUM_SAMPLES, solver=pm.sequential(), **options
    )
    assert_same(trace.position, expected.position)


@pytest.mark.slow
def test_python_numbers_are_a_position():
    transition = pm.mala(lambda x: -(x["a"] ** 2) / 2, 0.5)
    trace = pm.sample(jax.random.key(4), transition, {"a": 1.0}, 20, solver=pm.deer())
    assert trace.position["a"].shape == (1, 20)


@pytest.mark.parametrize(
    "kernel, num_chains",
    [
        pytest.param(HMC, 1, id="blackjax-hmc-1"),
        pytest.param(MALA, 3, id="mala-3", marks=pytest.mark.slow),
    ],
)
def test_typed_and_raw_keys_give_the_same_draws(kernel, num_chains):
    start = jnp.ones((num_chains, 2)) if num_chains > 1 else jnp.ones(2)
    typed, raw = (
        pm.sample(key, kernel, start, NUM_SAMPLES, num_chains=num_chains, solver=pm.deer()).position
        for key in (jax.random.key(5), jax.random.PRNGKey(5))
    )
    np.testing.assert_array_equal(typed, raw)


@pytest.mark.slow
def test_the_precision_is_that_of_the_start():
    trace = pm.sample(jax.random.key(5), MALA, jnp.ones(2, "float64"), 10, solver=pm.deer())
    assert trace.position.dtype == "float64" and trace.settings["tol"] == 0
    transition = pm.mala(logdensity_fn, 0.4)
    trace = pm.sample(jax.random.key(5), transition, jnp.ones(2, "float32"), 10, solver=pm.deer())
    assert trace.position.dtype == "float32" and trace.settings["tol"] == 0
