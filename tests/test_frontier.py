"""Where nearly all is solved and an iteration gains little, steps are made one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.constants import MOST_STEPS
from parallel_mcmc._core.frontier import make_steps, num_steps_to_make

NOISE = jax.random.normal(jax.random.key(0), (2_000, 1))
CHAOTIC = (1_000, 1_060)


def in_places(x, u):
    """A recursion that forgets, but for a stretch in which it expands."""
    noise, expands = u
    return jnp.where(expands, 3 * jnp.sin(3 * x) + noise, 0.5 * x + noise)


def inputs_of(begin, end):
    step = jnp.arange(len(NOISE))
    return NOISE, (step >= begin) & (step < end)


@pytest.mark.parametrize(
    "solver, window, most", [(pm.deer(), None, 30), (pm.deer(), 500, 100), (pm.jacobi(), None, 120)]
)
def test_a_stretch_that_expands_is_passed_in_a_few_iterations(
    solver, window, most, sequential_chain
):
    inputs, x0 = inputs_of(*CHAOTIC), jnp.zeros(1)
    solution = pm.solve(in_places, x0, inputs, solver=solver, window=window)
    info = solution.info
    assert int(info.status) == pm.Status.CONVERGED and int(info.num_sequential_steps) == 0
    # Every bit counts in the stretch: its 60 steps are made one by one, and made anew while the
    # last bits of the states before it settle: up to half as many steps as the chain has.
    assert int(info.num_iterations) <= most
    assert 20 <= int(info.num_frontier_steps) <= 1_000
    expected = sequential_chain(in_places, x0, inputs)
    assert np.max(np.abs(solution.trajectory[: CHAOTIC[0]] - expected[: CHAOTIC[0]])) < 1e-4
    # Within the stretch a difference in the last bit grows, so each step is held to f itself.
    before = jnp.concatenate([x0[None], solution.trajectory[:-1]])
    again = jax.vmap(in_places)(before, inputs)
    np.testing.assert_allclose(solution.trajectory, again, atol=1e-4)


def test_chains_that_do_not_stall_make_none():
    def solve(noise, expands):
        solution = pm.solve(in_places, jnp.zeros(1), (noise, expands), solver=pm.deer())
        return solution.info

    stretches = [inputs_of(0, 0), inputs_of(*CHAOTIC)]
    info = jax.vmap(solve)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *stretches))
    assert int(info.num_frontier_steps[0]) == 0 < int(info.num_frontier_steps[1])
    assert int(info.num_iterations[0]) < 20


def test_steps_are_made_only_where_nearly_all_is_solved_and_little_is_gained():
    def made(num_bad, gained, k, num_left=900):
        within = jnp.arange(800) >= num_bad
        return int(num_steps_to_make(within, jnp.array(gained), jnp.array(k), num_left))

    assert made(num_bad=100, gained=15, k=0) == MOST_STEPS
    assert made(num_bad=101, gained=15, k=0) == 0
    assert made(num_bad=100, gained=16, k=0) == 0
    assert made(num_bad=1, gained=0, k=795) == 4
    assert made(num_bad=200, gained=0, k=0, num_left=100) == MOST_STEPS
    assert made(num_bad=1, gained=0, k=0, num_left=10) == 9
    assert made(num_bad=1, gained=0, k=799) == made(num_bad=0, gained=0, k=800) == 0


@pytest.mark.parametrize("k, num_steps", [(0, 16), (3, 5), (20, 11), (31, 0), (32, 0)])
def test_steps_that_are_made_follow_from_the_frontier(k, num_steps):
    inputs = jnp.arange(40.0)[:, None]
    x = jnp.full((32, 1), -1.0).at[k].set(100.0)
    made = make_steps(
        lambda x, u: x + u, x, jnp.array(k), jnp.array(num_steps), inputs, offset=jnp.array(8)
    )
    expected = np.array(x)
    for t in range(k + 1, k + 1 + num_steps):
        expected[t] = expected[t - 1] + t + 8
    np.testing.assert_array_equal(made, expected)
