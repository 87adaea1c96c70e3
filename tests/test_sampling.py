"""`pm.sample`: chains, keys, positions, windows, progress, and what it says to bad arguments."""

import concurrent.futures
import threading

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm.auto

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")

NUM_SAMPLES = 60
ATOL = 1e-8
"""A tolerance of 1e-10 of the spread at each step, with some 10 steps of memory."""


def logdensity_fn(x):
    return -jnp.sum(x**2) / 2


def nested_logdensity_fn(x):
    return -(x["a"] ** 2 + jnp.sum(x["b"]["c"] ** 2) + jnp.sum((x["b"]["d"] - x["a"]) ** 2)) / 2


NESTED = {"a": np.float64(0.5), "b": {"c": np.ones(2), "d": np.zeros((2, 3))}}
MALA = pm.mala(logdensity_fn, 0.4)
HMC = blackjax.hmc(logdensity_fn, 0.3, np.ones(2), 5)


def assert_same(actual, expected, atol=ATOL):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


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


# Progress -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver, window",
    [
        pytest.param(pm.deer(), 16, id="deer-16"),
        pytest.param(pm.deer(), None, id="deer", marks=pytest.mark.slow),
        pytest.param(pm.sequential(), None, id="sequential", marks=pytest.mark.slow),
    ],
)
def test_a_progress_bar_reaches_the_end_and_changes_no_draw(solver, window, monkeypatch):
    bars = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, disable=False, **kwargs)
            self.steps = []
            bars.append(self)

        def update(self, n=1):
            self.steps.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    options = {"num_chains": 2, "window": window, "solver": solver}
    quiet, shown = (
        pm.sample(
            jax.random.key(6), MALA, jnp.ones((2, 2)), NUM_SAMPLES, progress_bar=on, **options
        )
        for on in (False, True)
    )
    np.testing.assert_array_equal(shown.position, quiet.position)
    (bar,) = bars
    assert bar.total == bar.n == 2 * NUM_SAMPLES
    assert min(bar.steps) >= 0
    assert np.count_nonzero(bar.steps) > 1  # it moved on the way


def test_runs_in_two_threads_move_a_bar_each(monkeypatch):
    bars, both = [], threading.Barrier(2)

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, disable=False, **kwargs)
            self.moves = []
            bars.append(self)
            both.wait(60)  # both runs are on, by one program

        def update(self, n=1):
            self.moves.append((self.n, n, self.n + n <= self.total))
            return super().update(n)

    def run(seed):
        pm.sample(
            jax.random.key(seed), MALA, jnp.ones((2, 2)), NUM_SAMPLES, num_chains=2,
            progress_bar=True, solver=pm.sequential(),
        )  # fmt: skip

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (0, 1)))
    assert [bar.n for bar in bars] == [2 * NUM_SAMPLES] * 2
    for bar in bars:
        assert np.count_nonzero([n for _, n, _ in bar.moves]) > 20, "it moved on the way"
        assert all(n >= 0 and within for _, n, within in bar.moves)


@pytest.mark.slow
def test_a_progress_bar_is_closed_when_the_run_fails():
    transition = pm.gibbs([pm.GibbsBlock(jax.random.normal, lambda x, z: {"unknown": z})])
    with pytest.raises(ValueError, match="unknown"):
        pm.sample(
            jax.random.key(6), transition, {"x": 0.0}, 10, progress_bar=True, solver=pm.deer()
        )
    pm.sample(jax.random.key(6), MALA, jnp.ones(2), 10, progress_bar=True, solver=pm.deer())


# Bad arguments --------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change, error, sentence",
    [
        (
            {"num_samples": 0},
            ValueError,
            "num_samples and num_chains must be at least 1, got 0 and 1",
        ),
        ({"num_samples": -3}, ValueError, "must be at least 1, got -3 and 1"),
        ({"num_chains": 0}, ValueError, "must be at least 1, got 60 and 0"),
        ({"window": 0}, ValueError, "window must be at least 1 step, got 0"),
        ({"num_chains": 3}, ValueError, r"num_chains=3 every leaf.*got shape \(2,\)"),
        ({"initial_position": jnp.array([0.0, jnp.nan])}, ValueError, "not finite.*of chain 0"),
        ({"initial_position": jnp.full(2, jnp.inf)}, ValueError, "not finite.*of chain 0"),
        ({"kernel": logdensity_fn}, TypeError, "Expected a kernel.*function"),
        ({"kernel": None}, TypeError, "Expected a kernel.*NoneType"),
        ({"on_failure": "ignore"}, ValueError, '"finish" or "raise", got \'ignore\''),
    ],
)
def test_an_argument_that_does_not_fit_is_one_sentence(change, error, sentence):
    arguments = {
        "kernel": MALA,
        "initial_position": jnp.zeros(2),
        "num_samples": NUM_SAMPLES,
    }
    with pytest.raises(error, match=sentence) as caught:
        pm.sample(jax.random.key(0), **(arguments | change))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")


def test_a_start_outside_the_support_names_its_chain():
    transition = pm.mala(lambda x: jnp.sum(jnp.log(x) - x), 0.1)
    starts = jnp.array([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]])
    with pytest.raises(ValueError, match="initial position of chain 2; start inside"):
        pm.sample(jax.random.key(0), transition, starts, 10, num_chains=3, solver=pm.deer())


def test_scalar_leaves_with_several_chains_are_refused():
    transition = pm.mala(lambda x: -(x["a"] ** 2) / 2, 0.5)
    with pytest.raises(ValueError, match=r"num_chains=2.*got shape \(\)"):
        pm.sample(jax.random.key(0), transition, {"a": 1.0}, 10, num_chains=2, solver=pm.deer())


# Failure --------------------------------------------------------------------------------


def test_a_limit_that_is_too_low_warns_and_the_draws_are_right():
    arguments = jax.random.key(7), MALA, jnp.full(2, 3.0), 300
    expected = pm.sample(*arguments, solver=pm.sequential())
    with pytest.warns(pm.ConvergenceWarning, match="after 2 iterations.*run one by one"):
        trace = pm.sample(*arguments, solver=pm.deer(max_iterations=2))
    assert_same(trace.position, expected.position)
    assert trace.solve.status.tolist() == [pm.Status.FINISHED_SEQUENTIALLY]
    assert trace.solve.num_iterations.tolist() == [2]
    assert 0 < int(trace.solve.num_sequential_steps[0]) < 300
    assert trace.settings["max_iterations"] == 2


@pytest.mark.slow
def test_one_failing_chain_of_several_is_named():
    starts = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.warns(pm.ConvergenceWarning, match=r"2 of 2 chains did not converge; chain [01]: "):
        pm.sample(
            jax.random.key(7), MALA, starts, 200, num_chains=2, solver=pm.deer(max_iterations=1)
        )


def test_a_failure_that_raises_carries_the_finished_trace():
    arguments = jax.random.key(7), MALA, jnp.full(2, 3.0), 300
    expected = pm.sample(*arguments, solver=pm.sequential())
    with pytest.raises(pm.ConvergenceError, match="after 2 iterations") as caught:
        pm.sample(*arguments, on_failure="raise", solver=pm.deer(max_iterations=2))
    trace = caught.value.result
    assert isinstance(trace, pm.Trace)
    assert_same(trace.position, expected.position)
    assert trace.to_inference_data()["posterior"]["x"].shape == (1, 300, 2)


@pytest.mark.slow
def test_a_solve_that_converges_does_not_raise():
    pm.sample(jax.random.key(7), MALA, jnp.ones(2), 50, on_failure="raise", solver=pm.deer())
