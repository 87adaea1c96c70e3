"""A stretch that expands is passed once, and not anew whenever states before it tremble."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recursions import inputs_of_rounding, rounds_much

import parallel_mcmc as pm

NOISE = jax.random.normal(jax.random.key(0), (2_000, 1))
BEGIN, END = 1_000, 1_060


def in_places(x, u):
    """A recursion that forgets, but for a stretch in which it expands."""
    noise, expands = u
    return jnp.where(expands, 3 * jnp.sin(3 * x) + noise, 0.5 * x + noise)


@pytest.mark.parametrize(
    "solver, window, most", [(pm.deer(), None, 80), (pm.deer(), 500, 100), (pm.jacobi(), None, 120)]
)
def test_a_stretch_that_expands_takes_an_iteration_a_step(solver, window, most, sequential_chain):
    step = jnp.arange(len(NOISE))
    inputs, x0 = (NOISE, (step >= BEGIN) & (step < END)), jnp.zeros(1)
    solution = pm.solve(in_places, x0, inputs, solver=solver, window=window)
    info = solution.info
    assert int(info.status) == pm.Status.CONVERGED and int(info.num_sequential_steps) == 0
    assert int(info.num_iterations) <= most
    expected = sequential_chain(in_places, x0, inputs)
    assert np.max(np.abs(solution.trajectory[:BEGIN] - expected[:BEGIN])) < 1e-4
    # Within the stretch a difference in the last bit grows, so each step is held to f itself.
    before = jnp.concatenate([x0[None], solution.trajectory[:-1]])
    again = jax.vmap(in_places)(before, inputs)
    np.testing.assert_allclose(solution.trajectory, again, atol=1e-4)


@pytest.mark.parametrize("num_steps", [4, 6])
def test_states_that_tremble_do_not_move_a_stretch_again_and_again(num_steps, sequential_chain):
    inputs, x0 = inputs_of_rounding(num_steps), jnp.zeros(10)
    solution = pm.solve(rounds_much, x0, inputs, solver=pm.jacobi(max_iterations=1_000))
    # Until the frontier has passed the stretch it would take more than 500.
    assert int(solution.info.num_iterations) <= 150
    assert int(solution.info.status) == pm.Status.CONVERGED
    expected = sequential_chain(rounds_much, x0, inputs)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-3)
