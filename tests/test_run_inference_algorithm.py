"""`pm.run_inference_algorithm` in place of BlackJAX's: the same states, for the same arguments."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.base import SamplingAlgorithm
from blackjax_algorithms import HMC, NUM_STEPS, START, Nothing, Position
from chains import assert_same

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(
    "begin, key",
    [
        pytest.param("initial_position", jax.random.key, id="position-typed"),
        pytest.param("initial_state", jax.random.PRNGKey, id="state-raw", marks=pytest.mark.slow),
    ],
)
def test_states_infos_and_final_state_are_those_of_blackjax(begin, key):
    options = {begin: START if begin == "initial_position" else HMC.init(START)}
    expected_final, expected = blackjax.util.run_inference_algorithm(
        key(1), HMC, NUM_STEPS, **options
    )
    final_state, history = pm.run_inference_algorithm(
        key(1), HMC, NUM_STEPS, solver=pm.deer(), **options
    )
    assert_same(history, expected)
    assert_same(final_state, expected_final)


def test_arguments_have_the_places_that_blackjax_gives_them():
    state = HMC.init(START)
    transform = lambda state, info: state.position["b"]  # noqa: E731
    arguments = jax.random.key(1), HMC, NUM_STEPS, state, None, transform
    expected = blackjax.util.run_inference_algorithm(*arguments)
    assert_same(pm.run_inference_algorithm(*arguments, solver=pm.deer()), expected)


def test_the_final_state_is_the_last_of_the_history():
    final_state, (states, _) = pm.run_inference_algorithm(
        jax.random.key(2), HMC, NUM_STEPS, initial_position=START, solver=pm.deer()
    )
    assert_same(final_state, jax.tree.map(lambda leaf: leaf[-1], states), atol=0)


@pytest.mark.parametrize(
    "solver, window",
    [
        pytest.param(pm.deer(), 16, id="deer-16"),
        pytest.param(pm.deer(), None, id="deer", marks=pytest.mark.slow),
        pytest.param(pm.sequential(), None, id="sequential", marks=pytest.mark.slow),
    ],
)
def test_a_transform_keeps_what_it_returns(window, solver):
    def transform(state, info):
        return {"total": jnp.sum(state.position["a"]), "accepted": info.is_accepted}

    arguments = jax.random.key(3), HMC, NUM_STEPS
    _, expected = blackjax.util.run_inference_algorithm(
        *arguments, initial_position=START, transform=transform
    )
    _, history = pm.run_inference_algorithm(
        *arguments, initial_position=START, transform=transform, window=window, solver=solver
    )
    assert_same(history, expected)


@pytest.mark.slow
def test_it_runs_inside_jit_and_under_vmap():
    def run(key, position):
        return pm.run_inference_algorithm(
            key, HMC, NUM_STEPS, initial_position=position, solver=pm.deer()
        )

    key = jax.random.key(4)
    expected = run(key, START)
    assert_same(jax.jit(run)(key, START), expected)

    keys = jax.random.split(key, 2)
    _, (states, _) = jax.jit(jax.vmap(run, in_axes=(0, None)))(keys, START)
    for i in range(2):
        _, (alone, _) = blackjax.util.run_inference_algorithm(
            keys[i], HMC, NUM_STEPS, initial_position=START
        )
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], states), alone)


@pytest.mark.parametrize("kind", ["known", "fields", "tried"])
@pytest.mark.slow
def test_a_second_run_with_a_new_key_traces_nothing_again(kind):
    traced = []

    def counting(x):
        traced.append(1)
        return -jnp.sum(x**2) / 2

    def init(position, rng_key=None):
        return Position(position, counting(position))

    def step(rng_key, state):
        return init(state.position / 2 + jax.random.normal(rng_key, (2,))), Nothing()

    known = kind == "known"
    algorithm = blackjax.mala(counting, 0.3) if known else SamplingAlgorithm(init, step)
    fields = ("position",) if kind == "fields" else None
    state = algorithm.init(jnp.zeros(2))
    histories = []
    counts = []
    for seed in range(3):
        _, history = pm.run_inference_algorithm(
            jax.random.key(seed),
            algorithm,
            NUM_STEPS,
            initial_state=state,
            fields=fields,
            solver=pm.deer(),
        )
        histories.append(history[0].position)
        counts.append(len(traced))
    assert counts[0] > 1
    assert counts[1] == counts[2] == counts[0]
    assert not np.array_equal(histories[0], histories[1])


@pytest.mark.parametrize("both", [False, True])
def test_one_of_state_and_position_is_needed(both):
    options = {"initial_state": HMC.init(START), "initial_position": START} if both else {}
    with pytest.raises(ValueError, match="either `initial_state` or `initial_position`"):
        pm.run_inference_algorithm(jax.random.key(0), HMC, NUM_STEPS, **options)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"on_failure": "ignore"}, '"finish" or "raise"'),
    ],
    ids=str,
)
def test_an_option_that_does_not_fit_is_refused(options, sentence):
    arguments = {"num_steps": NUM_STEPS, "initial_position": START} | options
    with pytest.raises(ValueError, match=sentence):
        pm.run_inference_algorithm(jax.random.key(0), HMC, **arguments)


@pytest.mark.slow
def test_a_failure_that_raises_carries_the_final_state_and_the_history():
    start = jax.tree.map(lambda leaf: leaf + 3, START)
    expected = blackjax.util.run_inference_algorithm(
        jax.random.key(5), HMC, NUM_STEPS, initial_position=start
    )
    with pytest.raises(pm.ConvergenceError, match="run one by one") as caught:
        pm.run_inference_algorithm(
            jax.random.key(5),
            HMC,
            NUM_STEPS,
            initial_position=start,
            on_failure="raise",
            solver=pm.deer(max_iterations=1),
        )
    assert_same(caught.value.result, expected)


def test_a_progress_bar_reaches_the_end_and_changes_no_draw(capsys):
    algorithm = blackjax.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 4)

    def run(**options):
        return pm.run_inference_algorithm(
            jax.random.key(0), algorithm, 64, initial_position=jnp.ones(2), solver=pm.jacobi(),
            transform=lambda state, info: state.position, **options,
        )  # fmt: skip

    shown, plain = run(progress_bar=True)[1], run()[1]
    np.testing.assert_array_equal(shown, plain)
    assert "64/64" in capsys.readouterr().err
