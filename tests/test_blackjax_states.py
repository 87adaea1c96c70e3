"""States of BlackJAX whose type is not known: rebuilt by `init`, given by fields, or refused."""

import functools
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.base import SamplingAlgorithm
from blackjax_algorithms import NUM_STEPS, counted, persistent, rebuildable
from chains import assert_same

import parallel_mcmc as pm
from parallel_mcmc._mcmc import transition as transitions

pytestmark = pytest.mark.usefixtures("x64")


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
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(1), 256), state)
    f = transitions.recursion(transition)
    for size in (1e2, 1e9, 1e160):  # log u counts, is lost, and the log likelihood overflows
        x = jax.vmap(lambda u, size=size: f(jnp.full(3, size), u))(inputs)
        assert jax.block_until_ready(x).shape == (256, 3)
    solve = functools.partial(pm.run_parallel, transition, solver=pm.picard())
    states = jax.jit(solve)(state, inputs)[1][0]
    expected = pm.run_sequential(transition, state, inputs)[1][0].position
    np.testing.assert_allclose(states.position, expected, atol=1e-3)
