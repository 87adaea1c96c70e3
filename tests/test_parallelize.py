"""`pm.parallelize`: blocks of steps that the loop of BlackJAX drives."""

import blackjax
import jax
import jax.numpy as jnp
import pytest
from blackjax_algorithms import HMC, NUM_STEPS, START, persistent
from chains import assert_same

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


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


def test_blackjaxs_progress_bar_counts_blocks(monkeypatch):
    """It puts a counter into the outermost `jax.lax.scan`, as is done here."""
    scan, depth, lengths = jax.lax.scan, [], []

    def counted(f, init, xs=None, length=None, **options):
        if not depth:
            lengths.append(jax.tree.leaves(xs)[0].shape[0])
        depth.append(f)
        try:
            return scan(f, init, xs, length, **options)
        finally:
            depth.pop()

    monkeypatch.setattr(jax.lax, "scan", counted)
    block = pm.parallelize(
        blackjax.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3), 5, solver=pm.jacobi()
    )
    blackjax.util.run_inference_algorithm(jax.random.key(0), block, 7, initial_position=jnp.ones(2))
    assert lengths == [7]
