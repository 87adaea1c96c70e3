"""Swapping one function: states, transforms, keys, compilation, blocks and unknown state types."""

import functools
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.base import SamplingAlgorithm

import parallel_mcmc as pm
from parallel_mcmc._mcmc import transition as transitions

pytestmark = pytest.mark.usefixtures("x64")

NUM_STEPS = 60
ATOL = 1e-8
"""A tolerance of 1e-10 of the spread at each step, with some 10 steps of memory."""


def logdensity_fn(x):
    return -jnp.sum(x["a"] ** 2) / 2 - (x["b"] - 1) ** 2


START = {"a": np.array([0.5, -0.5]), "b": np.float64(0.0)}
HMC = blackjax.hmc(logdensity_fn, 0.3, np.ones(3), 4)


def assert_same(actual, expected, atol=ATOL):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


# Kernels of our own, with state types that no table knows ---------------------------------


class Position(NamedTuple):
    """All of it follows from the position."""

    position: Any
    logdensity: Any


class Persistent(NamedTuple):
    """The momentum goes on from step to step."""

    position: Any
    momentum: Any


class Counted(NamedTuple):
    position: Any
    count: Any


class Nothing(NamedTuple):
    """The info of a step that has none."""


def rebuildable():
    def init(position, rng_key=None):
        return Position(position, -jnp.sum(position**2) / 2)

    def step(rng_key, state):
        noise = jax.random.normal(rng_key, state.position.shape)
        return init(0.5 * jnp.sin(state.position) + noise), Nothing()

    return SamplingAlgorithm(init, step)


def persistent():
    def init(position, rng_key=None):
        return Persistent(position, jnp.zeros_like(position))

    def step(rng_key, state):
        momentum = 0.7 * state.momentum + jax.random.normal(rng_key, state.position.shape)
        return Persistent(0.5 * jnp.sin(state.position) + momentum, momentum), Nothing()

    return SamplingAlgorithm(init, step)


def counted():
    def init(position, rng_key=None):
        return Counted(position, jnp.zeros((), jnp.int64))

    def step(rng_key, state):
        noise = jax.random.normal(rng_key, state.position.shape)
        return Counted(0.5 * state.position + noise, state.count + 1), Nothing()

    return SamplingAlgorithm(init, step)


# run_inference_algorithm ------------------------------------------------------------------


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


# parallelize ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [pm.deer(), pm.sequential()], ids=lambda solver: solver.name)
def test_the_loop_of_blackjax_drives_blocks_that_are_the_sequential_chain(solver):
    num_blocks, key, state = 3, jax.random.key(6), HMC.init(START)
    block = pm.parallelize(HMC, NUM_STEPS, solver=solver)
    final_state, (states, info) = blackjax.util.run_inference_algorithm(
        key, block, num_blocks, initial_state=state
    )

    # One key per block, split into one key per step.
    keys = jax.vmap(lambda key: jax.random.split(key, NUM_STEPS))(jax.random.split(key, num_blocks))
    step = lambda state, key: (lambda s, i: (s, (s, i)))(*HMC.step(key, state))  # noqa: E731
    expected_final, expected = jax.lax.scan(step, state, keys.reshape(-1))
    expected = jax.tree.map(
        lambda leaf: leaf.reshape(num_blocks, NUM_STEPS, *leaf.shape[1:]), expected
    )
    assert isinstance(info, pm.BlockInfo)
    assert_same((info.states, info.infos), expected)
    assert_same(final_state, expected_final)
    assert_same(states, jax.tree.map(lambda leaf: leaf[:, -1], info.states), atol=0)
    assert info.solve.status.tolist() == [pm.Status.CONVERGED] * num_blocks


@pytest.mark.slow
def test_a_block_starts_from_a_position_as_its_algorithm_does():
    block = pm.parallelize(HMC, 20, window=7, solver=pm.deer())
    final_state, (_, info) = blackjax.util.run_inference_algorithm(
        jax.random.key(7), block, 2, initial_position=START
    )
    assert info.states.position["a"].shape == (2, 20, 2)
    assert_same(final_state.position["b"], info.states.position["b"][-1, -1], atol=0)


@pytest.mark.slow
def test_a_block_reports_a_limit_that_is_too_low_and_is_right():
    block = pm.parallelize(HMC, NUM_STEPS, solver=pm.deer(max_iterations=1))
    _, info = jax.jit(block.step)(jax.random.key(8), HMC.init(START))
    _, (states, _) = blackjax.util.run_inference_algorithm(
        jax.random.key(8), HMC, NUM_STEPS, initial_state=HMC.init(START)
    )
    assert info.solve.status == pm.Status.FINISHED_SEQUENTIALLY
    assert_same(info.states, states)


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"num_steps": 5, "window": 0}], ids=str)
def test_a_block_of_no_steps_is_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        pm.parallelize(HMC, **options)


# Unknown types of states ------------------------------------------------------------------


def assert_is_blackjax(algorithm, fields=None):
    arguments = jax.random.key(9), algorithm, NUM_STEPS
    state = algorithm.init(jnp.array([1.0, -1.0]))
    expected = blackjax.util.run_inference_algorithm(*arguments, initial_state=state)
    assert_same(
        pm.run_inference_algorithm(
            *arguments, initial_state=state, fields=fields, solver=pm.deer()
        ),
        expected,
    )


def test_a_state_that_init_rebuilds_needs_no_fields():
    assert_is_blackjax(rebuildable())


def test_a_state_that_carries_more_is_refused_with_the_fields_to_name():
    with pytest.raises(ValueError) as error:
        pm.from_blackjax(persistent()).at(jnp.zeros(2))
    assert "init(position) does not rebuild the Persistent: momentum differ" in str(error.value)
    assert 'fields=("position", "momentum")' in str(error.value)


def test_a_state_that_carries_more_works_with_its_fields():
    assert_is_blackjax(persistent(), fields=("position", "momentum"))


@pytest.mark.slow
def test_inside_jit_an_unknown_type_asks_for_its_fields():
    def run(position, fields):
        return pm.run_inference_algorithm(
            jax.random.key(0),
            rebuildable(),
            20,
            initial_position=position,
            fields=fields,
            solver=pm.deer(),
        )

    with pytest.raises(ValueError, match=r'Position is not known.*fields=\("position",\)'):
        jax.jit(run, static_argnums=1)(jnp.zeros(2), None)
    assert_same(
        jax.jit(run, static_argnums=1)(jnp.zeros(2), ("position",)), run(jnp.zeros(2), None)
    )


def test_a_block_of_an_unknown_type_takes_its_fields():
    algorithm = persistent()
    block = pm.parallelize(algorithm, NUM_STEPS, fields=("position", "momentum"), solver=pm.deer())
    state = algorithm.init(jnp.ones(2))
    final_state, info = jax.jit(block.step)(jax.random.key(1), state)
    expected_final, (states, _) = blackjax.util.run_inference_algorithm(
        jax.random.key(1), algorithm, NUM_STEPS, initial_state=state
    )
    assert_same(info.states, states)
    assert_same(final_state, expected_final)


def test_a_count_is_not_rebuilt_and_cannot_be_solved_for():
    with pytest.raises(ValueError, match=r"does not rebuild the Counted: count differ"):
        pm.from_blackjax(counted()).at(jnp.zeros(2))
    with pytest.raises(ValueError, match="field 'count' of Counted holds int64"):
        pm.from_blackjax(counted(), fields=("position", "count")).at(jnp.zeros(2))


def test_an_integer_position_is_refused():
    with pytest.raises(ValueError, match="field 'position' of RWState holds int"):
        pm.from_blackjax(
            blackjax.additive_step_random_walk(
                lambda x: -jnp.sum(x**2) / 2, blackjax.mcmc.random_walk.normal(jnp.ones(2))
            ),
        ).at(np.zeros(2, int))


@pytest.mark.parametrize("fields", [("position", "velocity"), ("momentum",), ()], ids=str)
def test_fields_that_the_state_lacks_are_refused(fields):
    with pytest.raises(ValueError) as error:
        pm.from_blackjax(persistent(), fields=fields).at(jnp.zeros(2))
    message = str(error.value)
    assert "A Persistent has the fields position, momentum" in message
    assert "include 'position'" in message and message.endswith(f"got {fields}.")


@pytest.mark.slow
def test_a_transition_takes_several_chains_of_a_blackjax_algorithm():
    algorithm = persistent()
    transition = pm.from_blackjax(algorithm, fields=("position", "momentum"))
    key = jax.random.key(2)
    trace = pm.sample(key, transition, jnp.ones((2, 2)), NUM_STEPS, num_chains=2, solver=pm.deer())
    for chain, chain_key in enumerate(jax.random.split(key, 2)):
        _, (states, _) = blackjax.util.run_inference_algorithm(
            chain_key, algorithm, NUM_STEPS, initial_position=jnp.ones(2)
        )
        assert_same(trace.position[chain], states.position)


class HMCState(NamedTuple):
    """A user's own state, with the name of one of BlackJAX's and a memory that it has not."""

    position: Any
    momentum: Any


def test_a_state_of_ones_own_is_not_taken_for_that_of_blackjax():
    def step(key, state):
        momentum = 0.9 * state.momentum + jax.random.normal(key)
        return HMCState(0.5 * state.position + momentum, momentum), None

    algorithm = SamplingAlgorithm(lambda x, key=None: HMCState(x, 0 * x), step)
    with pytest.raises(ValueError, match=r"does not rebuild the .*HMCState: momentum"):
        pm.run_inference_algorithm(
            jax.random.key(0), algorithm, 50, initial_position=jnp.zeros(()), solver=pm.jacobi()
        )


def test_a_state_without_a_position_is_an_error():
    algorithm = SamplingAlgorithm(lambda x, key=None: (x,), lambda key, state: (state, None))
    with pytest.raises(TypeError, match="has no `position`"):
        pm.run_inference_algorithm(
            jax.random.key(0), algorithm, 5, initial_position=jnp.zeros(2), solver=pm.deer()
        )


@pytest.mark.slow
def test_elliptical_slices_end_at_states_where_log_u_is_lost_in_rounding():
    """Iterates may be far out, where a loop that shrinks until it improves would not end."""

    def loglikelihood_fn(x):
        return jnp.sum(x**2) / 4 - jnp.sum(jnp.logaddexp(0.0, x))

    algorithm = blackjax.elliptical_slice(loglikelihood_fn, mean=jnp.zeros(3), cov=jnp.eye(3))
    transition = pm.from_blackjax(algorithm).at(jnp.zeros(3))
    state = transition.init(jnp.zeros(3), jax.random.key(0))
    inputs = transition.draw_inputs(jax.random.key(1), 256, state)
    f = transitions.recursion(transition)
    for size in (1e2, 1e9, 1e160):  # log u counts, is lost, and the log likelihood overflows
        x = jax.vmap(lambda u, size=size: f(jnp.full(3, size), u))(inputs)
        assert x.shape == (256, 3)
    solve = functools.partial(pm.run_parallel, transition, solver=pm.picard())
    states = jax.jit(solve)(state, inputs)[1][0]
    expected = pm.run_sequential(transition, state, inputs)[1][0].position
    np.testing.assert_allclose(states.position, expected, atol=1e-3)
