"""Jacobi's iterations: what waits, and what goes on where they have become slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

NOISE = jax.random.normal(jax.random.key(0), (1_000, 2))
X0 = jnp.zeros(2)


def forgets_slowly(x, u):
    return 0.9 * jnp.sin(x) + u


def two_wells(x, u):
    return jnp.tanh(3 * x) + u


@pytest.mark.parametrize("num_wrong", [1, 2])
def test_a_state_that_is_far_off_does_not_move_the_right_one_after_it(num_wrong, sequential_chain):
    """From the first iterate, between the wells, two steps go to the wrong one."""
    inputs = 0.3 + 0.03 * NOISE[:400, :1]
    inputs = inputs.at[100 : 100 + 2 * num_wrong : 2].set(-0.3)
    solution = pm.solve(two_wells, X0[:1], inputs, solver=pm.jacobi(max_iterations=400))
    # They would travel to the end of the chain, for 300 iterations.
    assert int(solution.info.num_iterations) <= 30
    expected = sequential_chain(two_wells, X0[:1], inputs)
    assert float(expected[50:].min()) > 0
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-5)


def test_what_waits_does_not_slow_down_a_correction():
    """The wrong well is right up to step 100, and one iteration a step corrects what follows."""
    inputs = jnp.full((400, 1), 0.1).at[100].set(3.0)
    guess = jnp.full((400, 1), -1.0)
    x0 = jnp.full(1, -1.0)
    solver = pm.jacobi(max_iterations=400)
    solution = pm.solve(two_wells, x0, inputs, solver=solver, guess=guess)
    assert float(solution.trajectory[99, 0]) < 0 < float(solution.trajectory[101:].min())
    assert 300 <= int(solution.info.num_iterations) <= 310


@pytest.mark.parametrize(
    "then, window",
    [
        (pm.deer(), None),
        (pm.quasi_deer(), 300),
        pytest.param(pm.deer(), 300, marks=pytest.mark.thorough),
        pytest.param(pm.quasi_deer(), None, marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_the_chain_is_the_same_whatever_goes_on(then, window, sequential_chain):
    solver = pm.jacobi(then=then)
    solution = pm.solve(forgets_slowly, X0, NOISE, solver=solver, window=window)
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_sequential_steps) == 0
    expected = sequential_chain(forgets_slowly, X0, NOISE)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-4)


def test_evaluations_in_turn_are_those_of_both():
    def f(x, u):
        return 0.97 * x + u

    by_jacobi, by_deer, by_both = (
        pm.solve(f, X0, NOISE, solver=solver).info
        for solver in (pm.jacobi(max_iterations=900), pm.deer(), pm.jacobi(then=pm.deer()))
    )
    assert int(by_jacobi.num_in_turn) == int(by_jacobi.num_iterations)
    assert int(by_deer.num_in_turn) == 3 * int(by_deer.num_iterations)
    n, made = int(by_both.num_iterations), int(by_both.num_in_turn)
    by_then = (made - n) / 2  # each of them counts three
    assert by_then in range(1, 11)
    assert made < int(by_jacobi.num_in_turn) / 2


def test_a_look_at_states_nearby_takes_no_derivatives():
    info = pm.solve(forgets_slowly, X0, NOISE, solver=pm.deer()).info
    assert int(info.num_trembling) > 0  # the last iteration looked
    assert int(info.num_in_turn) == 3 * (int(info.num_iterations) - 1) + 1


def test_the_limit_holds_for_each_of_the_two(sequential_chain):
    solver = pm.jacobi(then=pm.deer(), max_iterations=5)
    with pytest.warns(pm.ConvergenceWarning, match="after 10 iterations"):
        solution = pm.solve(forgets_slowly, X0, NOISE, solver=solver)
    expected = sequential_chain(forgets_slowly, X0, NOISE)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-4)


def test_an_early_stop_is_that_of_both():
    solver = pm.jacobi(then=pm.deer(), tol=1e-3)
    solution = pm.solve(forgets_slowly, X0, NOISE, solver=solver)
    before = jnp.concatenate([X0[None], solution.trajectory[:-1]])
    off = jnp.abs(jax.vmap(forgets_slowly)(before, NOISE) - solution.trajectory)
    assert 0 < float(off.max()) <= 1e-3 * float(solution.trajectory.std(0).max()) * 1.5


def test_chains_side_by_side_hand_over_on_their_own():
    starts = jnp.stack([X0, X0 + 50])
    solver = pm.jacobi(then=pm.deer())

    def solve(x0):
        return pm.solve(forgets_slowly, x0, NOISE, solver=solver)

    both, alone = jax.vmap(solve)(starts), [solve(x0) for x0 in starts]
    for i, solution in enumerate(alone):
        np.testing.assert_allclose(both.trajectory[i], solution.trajectory, atol=1e-5)
        assert int(both.info.num_in_turn[i]) == int(solution.info.num_in_turn)


def test_what_jacobi_does_not_come_close_to_is_left_to_the_other():
    def f(x, u):
        return 0.99 * x + u

    assert int(pm.solve(f, X0, NOISE, solver=pm.jacobi(then=pm.deer())).info.status) == 0


def test_a_stretch_that_stands_still_is_passed(sequential_chain):
    """It takes 76: a state waits for one iteration only, not for as long as others are far off."""
    step = jnp.arange(1_000)
    inputs = NOISE, (step >= 60) & (step < 400)

    def f(x, u):
        noise, rejects = u
        return jnp.where(rejects, x, forgets_slowly(x, noise))

    solution = pm.solve(f, X0, inputs, solver=pm.jacobi())
    assert int(solution.info.num_iterations) <= 100
    expected = sequential_chain(f, X0, inputs)
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-4)


def test_a_recursion_that_is_not_finite_is_told():
    def f(x, u):
        return jnp.where(u > 3, jnp.nan, forgets_slowly(x, u))

    with pytest.warns(pm.ConvergenceWarning, match="returned a non-finite state after step"):
        solution = pm.solve(f, X0, NOISE, solver=pm.jacobi(then=pm.deer()))
    assert int(solution.info.status) == pm.Status.NON_FINITE


def test_it_prints_as_it_is_written():
    solver = pm.jacobi(then=pm.quasi_deer(max_norm=None), max_iterations=9)
    assert repr(solver) == "jacobi(then=quasi_deer(max_norm=None), max_iterations=9)"
    assert solver.name == "jacobi, then quasi_deer"
    assert eval(repr(solver), vars(pm)) == solver != pm.jacobi(max_iterations=9)


@pytest.mark.parametrize("then", [pm.jacobi(), pm.picard(), pm.sequential(), pm.auto(), "deer"])
def test_what_goes_on_has_derivatives(then):
    with pytest.raises(ValueError, match=r"with derivatives, such as pm\.deer\(\), got"):
        pm.jacobi(then=then)


@pytest.mark.parametrize("limit", [{"tol": 1e-3}, {"max_iterations": 9}])
def test_limits_are_given_once(limit):
    with pytest.raises(ValueError, match=r"Give tol and max_iterations to pm\.jacobi\(\), not to"):
        pm.jacobi(then=pm.deer(**limit))
