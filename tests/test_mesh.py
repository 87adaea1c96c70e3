"""Chains over several devices: the same chains, iterations and reports as on one.

A process has as many devices as it was started with. So these tests run in a process of their own,
which the last one starts; in that process they are tests like all others.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_devices import (
    WHICH,
    assert_same_report,
    on_four,
    over_both,
    over_time,
    pass_on_four_devices,
    pieces_of,
    slow,
)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from recursions import (
    assert_same_chain,
    chain,
    gated,
    inputs_of,
    inputs_of_rounding,
    linear,
    quiet,
    rounds_much,
    x0_of,
)

import parallel_mcmc as pm

T = 240


def decides(x, u):
    """A recursion with a decision, which forgets."""
    x = 0.6 * x + u[:2]
    return jnp.where(x[0] > u[2], 0.5 * x, x)


SOLVERS = {
    "deer": pm.deer(),
    "quasi_deer": pm.quasi_deer(),
    "jacobi": pm.jacobi(),
    "plain_newton": pm.deer(max_norm=None),
}


@on_four
@pytest.mark.parametrize("num_devices", [pytest.param(2, marks=slow), 4])
@pytest.mark.parametrize(
    "solver",
    [
        "deer",
        "jacobi",
        *(pytest.param(name, marks=slow) for name in ("quasi_deer", "plain_newton", "blocks")),
    ],
)
def test_a_chain_over_devices_is_that_of_one_device_to_the_last_bit(solver, num_devices):
    u = jax.random.normal(jax.random.key(0), (T, 3))
    solver = SOLVERS.get(solver, pm.block_quasi_deer())
    one = pm.solve(decides, jnp.zeros(2), u, solver=solver)
    many = pm.solve(decides, jnp.zeros(2), u, solver=solver, mesh=over_time(num_devices))
    np.testing.assert_array_equal(many.trajectory, one.trajectory)
    piece = T // num_devices
    assert pieces_of(many.trajectory) == [(i * piece, piece) for i in range(num_devices)]
    assert_same_report(many.info, one.info)


@on_four
@pytest.mark.parametrize("solver", [pytest.param("deer", marks=slow), "jacobi"])
def test_a_chain_whose_maps_jump_is_the_same_whatever_the_rounding_of_its_scan(solver):
    x0, u = x0_of(), inputs_of("piecewise", T)
    one = pm.solve(gated, x0, u, solver=SOLVERS[solver])
    many = pm.solve(gated, x0, u, solver=SOLVERS[solver], mesh=over_time())
    assert int(many.info.status) == pm.Status.CONVERGED
    assert int(many.info.num_trembling) == 0
    np.testing.assert_array_equal(many.trajectory, one.trajectory)


@on_four
def test_picard_finds_the_chain_whatever_the_rounding_of_its_sums(sequential_chain):
    x0, u = x0_of(), inputs_of("piecewise", T)
    many = pm.solve(gated, x0, u, solver=pm.picard(), mesh=over_time())
    assert int(many.info.status) == pm.Status.CONVERGED
    assert_same_chain(many.trajectory, sequential_chain(gated, x0, u))


@on_four
def test_trembling_chains_are_accepted_on_the_same_evidence():
    x0, u = x0_of(), inputs_of("contracting", T)
    one = pm.solve(gated, x0, u, solver=pm.jacobi())
    many = pm.solve(gated, x0, u, solver=pm.jacobi(), mesh=over_time())
    assert int(one.info.num_trembling) > 0
    assert_same_report(many.info, one.info)
    np.testing.assert_array_equal(many.trajectory, one.trajectory)


@on_four
def test_states_are_held_on_all_devices_alike():
    x0, u = jnp.zeros(10), inputs_of_rounding(4)
    one = pm.solve(rounds_much, x0, u, solver=pm.jacobi(max_iterations=1_000))
    many = pm.solve(rounds_much, x0, u, solver=pm.jacobi(max_iterations=1_000), mesh=over_time())
    assert int(one.info.num_iterations) <= 150  # more than 500 if none were held
    assert_same_report(many.info, one.info)
    np.testing.assert_array_equal(many.trajectory, one.trajectory)


@on_four
@pytest.mark.parametrize("limit", [pytest.param(1, marks=slow), 5])
def test_what_is_not_solved_is_finished_step_by_step_and_told(limit, sequential_chain):
    x0, u = x0_of(), inputs_of("expanding", T)
    solver = pm.jacobi(max_iterations=limit)
    with pytest.warns(pm.ConvergenceWarning, match="steps were run one by one"):
        many = pm.solve(gated, x0, u, solver=solver, mesh=over_time())
    with pytest.warns(pm.ConvergenceWarning):
        one = pm.solve(gated, x0, u, solver=solver)
    assert 0 < int(many.info.num_sequential_steps) <= T
    assert_same_report(many.info, one.info)
    np.testing.assert_array_equal(many.trajectory, one.trajectory)
    assert_same_chain(many.trajectory, sequential_chain(gated, x0, u))


@on_four
def test_only_wrong_steps_are_run_one_by_one_also_where_they_end_on_another_device():
    """A chain that decides once, in the second piece, and forgets that in the third."""

    def f(x, u):
        return jnp.where(u[1] > 0, jnp.where(x > 0, 1.0, -1.0), 0.97 * x) + u[0]

    u = np.zeros((T, 2, 1), np.float32)
    u[:, 0, 0] = np.random.default_rng(0).normal(size=T)
    u[T // 4 + 5 :: 7, 1] = 1
    solver = pm.jacobi(max_iterations=8)
    with pytest.warns(pm.ConvergenceWarning):
        one = pm.solve(f, jnp.ones(1), u, solver=solver)
        many = pm.solve(f, jnp.ones(1), u, solver=solver, mesh=over_time())
    assert 0 < int(one.info.num_sequential_steps) < T
    assert_same_report(many.info, one.info)
    np.testing.assert_array_equal(many.trajectory, one.trajectory)
    expected = pm.solve(f, jnp.ones(1), u, solver=pm.sequential()).trajectory
    np.testing.assert_array_equal(many.trajectory, expected)


@on_four
@quiet
@pytest.mark.parametrize("step", [pytest.param(3, marks=slow), 3 * T // 4, T - 1])
def test_a_value_that_is_not_finite_is_the_recursions_own_and_told(step):
    u = jnp.zeros((T, 3)).at[step].set(jnp.nan)
    many = pm.solve(linear, jnp.ones(3), u, solver=pm.deer(), mesh=over_time())
    assert int(many.info.status) == pm.Status.NON_FINITE
    assert int(many.info.frontier) == step
    expected = chain(linear, jnp.ones(3), u)
    np.testing.assert_allclose(many.trajectory, expected, atol=1e-6)


@on_four
def test_products_that_overflow_make_no_state_wrong():
    """Chaotic: the product of a piece's derivatives is beyond float32."""
    u = jnp.zeros((T, 1))
    solver = pm.deer(max_norm=None, max_iterations=T + 2)
    many = pm.solve(lambda x, u: jnp.sin(20 * x), jnp.full(1, 0.3), u, solver=solver,
                    mesh=over_time())  # fmt: skip
    expected = pm.solve(lambda x, u: jnp.sin(20 * x), jnp.full(1, 0.3), u, solver=pm.sequential())
    assert int(many.info.status) == pm.Status.CONVERGED
    np.testing.assert_array_equal(many.trajectory, expected.trajectory)


@on_four
def test_a_chain_runs_step_by_step_over_devices():
    x0, u = x0_of(), inputs_of("expanding", T)
    many = pm.solve(gated, x0, u, solver=pm.sequential(), mesh=over_time())
    np.testing.assert_array_equal(many.trajectory, chain(gated, x0, u))
    assert int(many.info.num_sequential_steps) == T


@on_four
def test_a_guess_and_inputs_that_are_cut_already_and_keys_among_them():
    def f(x, key):
        return 0.5 * x + jax.random.uniform(key, (2,))  # every program rounds them alike

    mesh, keys = over_time(), jax.random.split(jax.random.key(0), T)
    cut = NamedSharding(mesh, PartitionSpec("time"))
    one = pm.solve(f, jnp.zeros(2), keys, solver=pm.deer(), guess=jnp.ones((T, 2)))
    many = pm.solve(
        f, jnp.zeros(2), jax.device_put(keys, cut), solver=pm.deer(), mesh=mesh,
        guess=jax.device_put(jnp.ones((T, 2)), cut),
    )  # fmt: skip
    np.testing.assert_array_equal(many.trajectory, one.trajectory)
    assert_same_report(many.info, one.info)


def manual():
    return Mesh(np.array(jax.devices()), ("time",), axis_types=(AxisType.Manual,))


WHAT_DOES_NOT_FIT = {
    "name": (lambda: Mesh(np.array(jax.devices()), ("devices",)), {}, "must be among"),
    "kind": (manual, {}, "call this outside"),
    "chains": (over_both, {}, "use pm.sample"),
    "size": (lambda: over_time(3), {"T": 200}, "take 198 or 201 steps"),
    "window": (over_time, {"window": 60}, "leave the window out"),
    "diagnosis": (over_time, {"diagnose": True}, "shorter run"),
    "penalty": (over_time, {"solver": pm.elk()}, "take pm.deer"),
}


@on_four
@pytest.mark.parametrize("what", WHAT_DOES_NOT_FIT)
def test_what_does_not_fit_is_refused_with_a_next_step(what):
    make, options, message = WHAT_DOES_NOT_FIT[what]
    options = {"solver": pm.deer(), **options}
    u = jnp.zeros((options.pop("T", T), 3))
    with pytest.raises(ValueError, match=message):
        pm.solve(linear, jnp.ones(3), u, mesh=make(), **options)


@on_four
def test_inside_another_mesh_one_is_refused_and_none_is_taken():
    u, explicit = jnp.zeros((T, 3)), jax.make_mesh((4,), ("time",))
    automatic = over_time()
    options = {"solver": pm.sequential()}
    with jax.set_mesh(explicit), pytest.raises(ValueError, match="call this outside"):
        pm.solve(linear, jnp.ones(3), u, mesh=explicit, **options)
    with jax.set_mesh(automatic):
        solution = pm.solve(linear, jnp.ones(3), u, mesh=automatic, **options)
        kernel = pm.random_walk(lambda x: -jnp.sum(x**2), 0.5)
        trace = pm.sample(jax.random.key(0), kernel, jnp.ones((4, 2)), 9, num_chains=4, **options)
    assert len(solution.trajectory.devices()) == 4
    assert trace.position.shape == (4, 9, 2)


def test_a_mesh_of_one_device_is_no_different():
    u = jax.random.normal(jax.random.key(0), (T, 3))
    options = {"solver": pm.jacobi(), "window": T // 4, "diagnose": True}
    one, many = (
        pm.solve(decides, jnp.zeros(2), u, mesh=mesh, **options) for mesh in (None, over_time(1))
    )
    np.testing.assert_array_equal(many.trajectory, one.trajectory)
    assert_same_report(many.info, one.info)
    assert float(many.predictability.exponent) == float(one.predictability.exponent)


def test_no_mesh_is_refused_as_well(unchecked):
    with pytest.raises(TypeError, match="make one with"):
        pm.solve(linear, jnp.ones(3), jnp.zeros((T, 3)), mesh=4)


@pytest.mark.parametrize("which", WHICH)
def test_these_tests_pass_on_four_devices(which):
    pass_on_four_devices(__file__, which)
