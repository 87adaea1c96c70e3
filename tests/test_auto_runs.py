"""Runs with `auto`: the draws do not depend on it, and windows fit into the memory."""

import functools
import logging

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from auto_pilots import GPU, KEY, NOISE, pilot_of, rotates

import parallel_mcmc as pm
from parallel_mcmc._core.auto import choose, window_for

# A pilot that does not converge says so where it is run by `pm.solve`, as here.
pytestmark = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")


# Where it is the default ------------------------------------------------------------------


def test_solve_gives_the_same_trajectory_and_logs_its_choice(sequential_chain, caplog):
    with caplog.at_level(logging.INFO, "parallel_mcmc"):
        solution = pm.solve(rotates, jnp.zeros(3), NOISE, solver=GPU)
        pm.solve(rotates, jnp.zeros(3), NOISE)
    expected = sequential_chain(rotates, jnp.zeros(3), NOISE)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-4)
    assert int(solution.info.num_iterations) > 0
    assert [message.split(":")[0] for message in caplog.messages] == [
        "jacobi, then deer",
        "sequential",
    ]
    inside = jax.jit(lambda x0: pm.solve(rotates, x0, NOISE, solver=GPU).trajectory)(jnp.zeros(3))
    np.testing.assert_allclose(inside, expected, atol=1e-4)


@pytest.mark.slow
def test_sample_keeps_the_reason_and_the_draws():
    transition = pm.hmc(lambda x: -jnp.sum(x**2) / 2, 0.2)
    starts = jnp.zeros((2, 2))
    chosen, plain = (
        pm.sample(KEY, transition, starts, 100, num_chains=2, solver=solver)
        for solver in (GPU, None)
    )
    assert chosen.settings["solver"] == "jacobi" and plain.settings["solver"] == "sequential"
    attrs = chosen.to_inference_data()["posterior"].attrs
    assert attrs["solver_choice"] == chosen.settings["solver_choice"]
    assert attrs["solver_choice"].startswith("jacobi: perturbations shrink by")
    shrink = float(attrs["solver_choice"].split("factor ")[1].split(" ")[0])
    np.testing.assert_allclose(attrs["pilot_exponent"], np.log(shrink), atol=0.01)
    assert "pilot_exponent" not in plain.settings
    np.testing.assert_allclose(chosen.position, plain.position, atol=1e-4)


@pytest.mark.slow
def test_blackjax_entries_choose_too():
    algorithm = blackjax.hmc(lambda x: -jnp.sum(x**2) / 2, 0.2, jnp.ones(2), 8)
    arguments = KEY, algorithm, 100, algorithm.init(jnp.zeros(2))
    expected = blackjax.util.run_inference_algorithm(*arguments)[1][0].position
    for solver in (GPU, None):
        history = pm.run_inference_algorithm(*arguments, solver=solver)[1]
        np.testing.assert_allclose(history[0].position, expected, atol=1e-4)
    block = pm.parallelize(algorithm, 100, solver=GPU)
    _, info = jax.jit(block.step)(KEY, block.init(jnp.zeros(2)))
    assert int(info.solve.num_iterations) > 0


@pytest.mark.slow
def test_a_chain_whose_iterations_grow_with_it_runs_step_by_step():
    def accepts(x, u):  # a random walk: what it forgets no derivative sees
        proposal = x + u["normal"]
        return jnp.where(u["log"] < jnp.sum(x**2 - proposal**2) / 2, proposal, x)

    inputs = {
        "normal": 1.4 * jax.random.normal(KEY, (4_096, 3)),
        "log": -jax.random.exponential(jax.random.key(1), (4_096,)),
    }
    assert pm.solve(accepts, jnp.zeros(3), inputs, solver=GPU).info.num_iterations == 0


@pytest.mark.slow
def test_a_chain_that_forgets_slowly_is_solved():
    """A rotation in pairs, of more unknowns than DEER is tried for; quasi-DEER sees no diagonal."""

    def f(x, u):
        y = x.reshape(-1, 2) @ jnp.array([[0.0, -0.97], [0.97, 0.0]])
        return y.reshape(-1) + u

    inputs = jax.random.normal(KEY, (1_000, 130))
    solution = pm.solve(f, jnp.zeros(130), inputs, solver=GPU)
    assert solution.info.status == pm.Status.CONVERGED
    assert solution.info.num_iterations > 200
    expected = pm.solve(f, jnp.zeros(130), inputs, solver=pm.sequential()).trajectory
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-4)


# Windows --------------------------------------------------------------------------------


@pytest.mark.slow
def test_windows_are_as_long_as_the_memory_allows():
    # A million steps of 25 unknowns in float32: 22 kB per step with dense maps.
    window = window_for(pm.deer(), 1_000_000, 25, 4, 1e9)
    assert window == 32_768
    assert 0.5e9 < window * 4 * (32 * 25 + 8 * 25**2) <= 1e9
    assert window_for(pm.deer(max_norm=None), 1_000_000, 25, 4, 1e9) == window
    assert window_for(pm.elk(), 1_000_000, 25, 4, 1e9) == window
    assert window_for(pm.jacobi(), 1_000_000, 25, 4, 1e9) == 262_144
    assert window_for(pm.jacobi(), 1_000, 25, 4, 1e9) == 1_000
    assert window_for(pm.sequential(), 1_000_000, 25, 4, 1.0) == 1_000_000
    assert window_for(pm.deer(), 1_000, 25, 4, 1.0) == 16
    attempt, _ = pilot_of(rotates)
    choice = choose(pm.auto(platform="gpu", memory=1e5), None, 400, jnp.zeros(3), attempt)
    assert choice.window == 256 and choice.reason.endswith("; windows of 256 steps for 0 MB")


@pytest.mark.slow
@pytest.mark.parametrize("solver", [pm.deer(), pm.jacobi()], ids=lambda solver: solver.name)
def test_a_million_steps_of_25_unknowns_are_planned_within_a_gigabyte(solver):
    transition = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.2).at(jnp.zeros(25))
    state = transition.init(jnp.zeros(25), KEY)
    T = 1_000_000
    window = window_for(solver, T, 25, 4, 1e9)

    def positions(key, state):
        inputs = transition.draw_inputs(jax.random.split(key, T), state)
        solve = functools.partial(pm.run_parallel, solver=solver, window=window)
        return solve(transition, state, inputs, transform=lambda state, _: state.position)[1]

    memory = jax.jit(positions).lower(KEY, state).compile().memory_analysis()
    assert memory.output_size_in_bytes == T * 25 * 4
    # The numbers drawn and the trajectory are of that size too.
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 1e9 + 3 * T * 25 * 4


def test_memory_is_shared_by_the_chains():
    attempt, _ = pilot_of(rotates)
    options = pm.auto(platform="gpu", memory=1e5)
    assert choose(options, None, 400, jnp.zeros(3), attempt, num_chains=4).window == 32
