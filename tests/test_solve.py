"""`solve` returns the sequential trajectory, for any recursion, and says how it was found."""

import re
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_table import SOLVERS

import parallel_mcmc as pm
from parallel_mcmc import targets
from parallel_mcmc._core.tolerance import grain

pytestmark = pytest.mark.slow
PARALLEL = [name for name in SOLVERS if name != "sequential"]
WINDOWS = [None, 1, 7, 64, 2000]
quiet = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")

D = 3
MIX = np.array([[0.9, 0.4, -0.2], [-0.5, 0.8, 0.3], [0.1, -0.6, 1.1]], np.float32)
X0 = np.array([0.3, -1.0, 2.0])


def gated(x, u):
    """x_t = slope tanh(M x) + noise where the gate is open, else x_{t-1}: of many kinds."""
    proposal = u["slope"] * jnp.tanh(MIX.astype(x.dtype) @ x) + u["noise"]
    return jnp.where(u["gate"] < jnp.cos(jnp.sum(x)), proposal, x)


def inputs_of(kind, T, dtype=np.float32, seed=0):
    """Inputs that make `gated` contract, expand on the way, or jump between pieces."""
    rng = np.random.default_rng(seed)
    noise, gate, slope = rng.normal(size=(T, D)), np.full(T, -2.0), np.full(T, 0.4)
    if kind == "expanding":
        # Slopes of up to 1.5 * 1.4 near the origin, which the noise visits often.
        slope, noise = np.full(T, 1.5), 0.5 * noise
    elif kind == "piecewise":
        slope, gate = rng.uniform(-2, 2, size=T), rng.uniform(-1, 1, size=T)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype), {"slope": slope, "noise": noise, "gate": gate}
    )


def x0_of(dtype=np.float32):
    return jnp.asarray(X0, dtype)


def spread(trajectory):
    """The standard deviation of a normal with these quartiles, per coordinate."""
    lower, upper = np.quantile(np.asarray(trajectory, float), [0.25, 0.75], axis=0)
    return (upper - lower) / 1.349


def default_tol(dtype):
    return {np.dtype("float32"): 1e-5, np.dtype("float64"): 1e-10}[np.dtype(dtype)]


def residuals(f, x0, inputs, trajectory):
    """|x_t - f(x_{t-1}, u_t)|, each step on its own."""
    previous = jnp.concatenate([x0[None], trajectory[:-1]])
    return np.abs(np.asarray(jax.vmap(f)(previous, inputs)) - np.asarray(trajectory))


def assert_same_chain(trajectory, expected):
    # A residual of tol per step; along these recursions perturbations grow less than 100-fold.
    atol = 100 * default_tol(expected.dtype) * max(1.0, np.abs(expected).max())
    assert trajectory.dtype == expected.dtype
    np.testing.assert_allclose(trajectory, expected, rtol=0, atol=atol)


def assert_ended(info, status, num_steps):
    """The report is consistent with itself."""
    assert int(info.status) == status
    if status == pm.Status.CONVERGED:
        assert int(info.num_sequential_steps) == 0
        assert int(info.frontier) == num_steps
    else:
        assert 0 < int(info.num_sequential_steps) <= num_steps
        assert 0 <= int(info.frontier) < num_steps


# The trajectory ------------------------------------------------------------------------


SIZES = [(32, 37, 7), (32, 1000, None), (64, 1, None), (64, 1000, 64)]
KINDS = ["contracting", "expanding", "piecewise"]


@pytest.mark.parametrize(("precision", "T", "window"), SIZES)
@pytest.mark.parametrize("name", PARALLEL)
def test_every_solver_recovers_the_sequential_trajectory(
    name, precision, T, window, sequential_chain
):
    dtype = np.dtype(f"float{precision}")
    with jax.enable_x64(precision == 64):
        for kind in KINDS:
            x0, inputs = x0_of(dtype), inputs_of(kind, T, dtype)
            # T + 1 iterations always suffice: T to make the chain exact, one to see it.
            solver = replace(SOLVERS[name], max_iterations=T + 1)
            solution = pm.solve(gated, x0, inputs, solver=solver, window=window)
            expected = sequential_chain(gated, x0, inputs)
            assert_same_chain(solution.trajectory, expected)
            # What trembles does so within 512 grains of the spread (`constants.PROPORTION`), of
            # which a solve sees a sample: hence 2. And f is evaluated twice.
            allowed = 2 * 512 * grain(expected.dtype) * spread(expected)
            allowed = allowed + 8 * np.finfo(expected.dtype).eps * np.abs(expected).max(axis=0)
            assert np.all(residuals(gated, x0, inputs, solution.trajectory) <= allowed)
            assert_ended(solution.info, pm.Status.CONVERGED, T)


def test_windows_of_unequal_spread_converge_all_the_same():
    def f(x, u):
        return 0.7 * x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, 3))
    info = pm.solve(f, jnp.zeros(3), inputs, solver=pm.jacobi(), window=64).info
    assert_ended(info, pm.Status.CONVERGED, 1000)


@pytest.mark.parametrize("T", [1, 37, 1000])
def test_the_sequential_solver_is_the_sequential_trajectory(T, dtype, sequential_chain):
    x0, inputs = x0_of(dtype), inputs_of("piecewise", T, dtype)
    solution = pm.solve(gated, x0, inputs, solver=pm.sequential())
    np.testing.assert_array_equal(solution.trajectory, sequential_chain(gated, x0, inputs))
    assert int(solution.info.status) == pm.Status.CONVERGED
    assert int(solution.info.num_iterations) == 0
    assert int(solution.info.num_sequential_steps) == T


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("T", [1, 37, 1000])
def test_no_window_changes_the_trajectory(T, window, sequential_chain):
    inputs = inputs_of("piecewise", T)
    solver = pm.jacobi(max_iterations=T + 1)
    solution = pm.solve(gated, x0_of(), inputs, solver=solver, window=window)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.CONVERGED, T)


@pytest.mark.parametrize("name", ["deer", "jacobi"])
def test_a_chaotic_recursion_is_solved_step_by_step_within_tolerance(name, x64):
    # The logistic map doubles a perturbation per step, so that no two ways to round agree
    # for long. What holds: the residual at every step, and the bound from it.
    def logistic(x, u):
        return u * x * (1 - x)

    T, x0 = 60, jnp.array([0.2])
    u = jnp.full((T, 1), 3.99)
    solution = pm.solve(logistic, x0, u, solver=replace(SOLVERS[name], max_iterations=T + 1))
    x = np.asarray(solution.trajectory)
    assert_ended(solution.info, pm.Status.CONVERGED, T)
    allowed = 1.1e-10 * spread(x) + 1e-15
    assert np.all(residuals(logistic, x0, u, solution.trajectory) <= allowed)

    exact, bound = 0.2, 0.0
    for t in range(20):
        bound = allowed[0] + abs(3.99 * (1 - 2 * exact)) * bound + 3.99 * bound**2
        exact = 3.99 * exact * (1 - exact)
        assert abs(x[t, 0] - exact) <= bound + 1e-15
    assert bound < 1e-3


# The bounds that theory gives ------------------------------------------------------------


@quiet
@pytest.mark.parametrize("name", PARALLEL)
def test_after_i_iterations_the_first_i_states_are_exact(name):
    # Causality, whatever stands in for the Jacobian. The last iteration only looks.
    T = 1000
    x0, inputs = x0_of(), inputs_of("piecewise", T)
    for i in (1, 2, 5, 20, 37):
        info = pm.solve(gated, x0, inputs, solver=replace(SOLVERS[name], max_iterations=i)).info
        assert int(info.num_iterations) <= i
        assert int(info.frontier) >= i - 1
        assert (int(info.frontier) == T) or (
            0 < int(info.num_sequential_steps) <= T - int(info.frontier)
        )


@pytest.mark.parametrize("memory", [1, 7])
def test_jacobi_needs_one_iteration_more_than_the_memory_of_the_recursion(memory, x64):
    # A shift register forgets its start after `memory` steps; one more iteration sees it.
    def shift(x, u):
        return jnp.concatenate([u, x[:-1]])

    inputs = jax.random.normal(jax.random.key(0), (100, 1))
    solution = pm.solve(shift, jnp.full(memory, 9.0), inputs, solver=pm.jacobi())
    padded = np.concatenate([np.full(memory, 9.0)[:, None], inputs])
    expected = np.stack([padded[t : t + memory, 0][::-1] for t in range(1, 101)])
    np.testing.assert_array_equal(solution.trajectory, expected)
    assert int(solution.info.num_iterations) == memory + 1


def test_deer_solves_a_linear_recursion_in_one_iteration_and_looks_again(dtype, sequential_chain):
    # Newton is exact for a linear map, up to rounding: one iteration to solve it, one to see it,
    # one to find that it trembles, and one for the looks at states nearby.
    matrix = (0.9 * np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]).astype(dtype)

    def linear(x, u):
        return matrix @ x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, D), dtype)
    # With its limits Newton may take more, for states beyond the reach of a first step.
    for solver, iterations in [(pm.deer(max_norm=None), 4), (pm.deer(), 6)]:
        solution = pm.solve(linear, x0_of(dtype), inputs, solver=solver)
        assert_same_chain(solution.trajectory, sequential_chain(linear, x0_of(dtype), inputs))
        assert int(solution.info.num_iterations) <= iterations


def test_one_probe_is_newton_for_independent_coordinates():
    def linear(x, u):
        return jnp.array([0.9, -0.5, 0.1]) * x + u

    inputs = jax.random.normal(jax.random.key(0), (1000, D))
    solution = pm.solve(linear, x0_of(), inputs, solver=pm.quasi_deer())
    assert int(solution.info.num_iterations) <= 8
    assert int(solution.info.num_limited) == 0


@pytest.mark.parametrize("solver", [pm.deer(), pm.quasi_deer()], ids=lambda solver: solver.name)
def test_a_stretch_far_out_is_not_left_to_jacobi(solver):
    # 80 times the spread of the chain, and back within 8 of them after some hundred steps, each an
    # iteration of Jacobi. Three are for looking at what trembles.
    inputs = jax.random.normal(jax.random.key(0), (2000, 1)).at[500].add(400.0)
    solution = pm.solve(lambda x, u: 0.98 * x + u, jnp.zeros(1), inputs, solver=solver)
    assert int(solution.info.num_iterations) <= 13


def test_picard_sums_up_a_random_walk_in_a_few_iterations():
    inputs = jax.random.normal(jax.random.key(0), (1000, D))
    solution = pm.solve(lambda x, u: x + u, jnp.zeros(D), inputs, solver=pm.picard())
    expected = np.cumsum(np.asarray(inputs, float), axis=0)
    # A thousand additions of float32 numbers of up to a hundred.
    np.testing.assert_allclose(solution.trajectory, expected, atol=1e-3)
    assert int(solution.info.num_iterations) <= 9


def test_a_limit_on_the_norm_is_reported():
    def doubling(x, u):
        return jnp.clip(2 * x, -1, 1) + u

    inputs = 0.3 * jax.random.normal(jax.random.key(0), (37, 1))
    for max_norm, limited in [(1.0, True), (None, False)]:
        solver = pm.quasi_deer(max_norm=max_norm)
        info = pm.solve(doubling, jnp.zeros(1), inputs, solver=solver).info
        assert (int(info.num_limited) > 0) == limited


# Trees, keys, transformations ------------------------------------------------------------


def tree_recursion(state, inputs):
    """A nested state of mixed shapes, driven by random keys."""
    noise = jax.random.normal(inputs["key"], (2, 3))
    weights = 0.5 * jnp.tanh(state["layer"]["weights"]) + noise
    bias = 0.5 * state["layer"]["bias"] + jnp.sum(weights, axis=0)
    return {"layer": {"weights": weights, "bias": bias}, "level": jnp.cos(state["level"] * bias[0])}


def tree_x0():
    layer = {"weights": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}
    return {"layer": layer, "level": np.float32(0.5)}


@pytest.mark.parametrize(
    ("make_key", "solver", "window", "scale"),
    [
        (jax.random.key, pm.deer(), None, jax.tree.map(np.ones_like, tree_x0())),
        (jax.random.PRNGKey, pm.jacobi(), 7, None),
    ],
    ids=["typed keys", "raw keys"],
)
def test_any_tree_and_any_keys(make_key, solver, window, scale, sequential_chain):
    inputs = {"key": jax.random.split(make_key(0), 37)}
    expected = sequential_chain(tree_recursion, tree_x0(), inputs)
    solution = pm.solve(
        tree_recursion, tree_x0(), inputs, solver=solver, window=window, scale=scale
    )
    assert jax.tree.structure(solution.trajectory) == jax.tree.structure(expected)
    jax.tree.map(assert_same_chain, solution.trajectory, expected)
    assert solution.trajectory["layer"]["weights"].shape == (37, 2, 3)
    assert solution.trajectory["level"].shape == (37,)
    assert_ended(solution.info, pm.Status.CONVERGED, 37)


def test_a_scalar_state(sequential_chain):
    def f(x, u):
        return 0.5 * jnp.sin(x) + u

    inputs = jax.random.normal(jax.random.key(0), (37,))
    solution = pm.solve(f, jnp.array(0.1), inputs, solver=pm.jacobi())
    assert_same_chain(solution.trajectory, sequential_chain(f, jnp.array(0.1), inputs))


def test_a_float32_state_stays_float32_where_64_bit_is_on(x64, sequential_chain):
    inputs = inputs_of("piecewise", 37, np.float32)
    solution = pm.solve(gated, x0_of(np.float32), inputs, solver=pm.jacobi(), window=7)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(np.float32), inputs))


@quiet
def test_under_jit_the_solution_is_the_same_and_a_failure_is_data():
    def solve(x0, inputs, solver, on_failure="finish"):
        return pm.solve(gated, x0, inputs, window=7, on_failure=on_failure, solver=solver)

    inputs = inputs_of("expanding", 37)
    jitted = jax.jit(lambda *args: solve(*args, on_failure="raise"), static_argnums=2)
    for max_iterations, status in [(38, "CONVERGED"), (3, "FINISHED_SEQUENTIALLY")]:
        solver = pm.deer(max_iterations=max_iterations)
        inside, outside = jitted(x0_of(), inputs, solver), solve(x0_of(), inputs, solver)
        assert_same_chain(inside.trajectory, np.asarray(outside.trajectory))
        assert_ended(inside.info, pm.Status[status], 37)
        assert int(inside.info.frontier) == int(outside.info.frontier)
        assert int(inside.info.num_iterations) == int(outside.info.num_iterations)


@quiet
@pytest.mark.parametrize(("name", "window"), [("exact_diagonal", 7), ("jacobi", None)])
def test_under_vmap_each_chain_is_as_if_alone(name, window, sequential_chain):
    # The last chain turns around the origin and forgets nothing, which Jacobi hands on by one step
    # at a time: it does not come to its end, and must not disturb the others.
    T, kinds = 37, ["contracting", "expanding", "piecewise"]
    chains = [inputs_of(kind, T, seed=seed) for seed, kind in enumerate(kinds)]
    slope = 1 / np.abs(np.linalg.eigvals(MIX)).max()
    chains.append({**chains[0], "slope": jnp.full(T, slope), "noise": 1e-3 * chains[0]["noise"]})
    x0 = jnp.stack([x0_of(), -x0_of(), 2 * x0_of(), 1e-3 * x0_of()])

    def solve(x0, inputs):
        solver = replace(SOLVERS[name], max_iterations=20)
        return pm.solve(gated, x0, inputs, solver=solver, window=window)

    together = jax.vmap(solve)(x0, jax.tree.map(lambda *leaves: jnp.stack(leaves), *chains))
    statuses = []
    for i, inputs in enumerate(chains):
        alone = solve(x0[i], inputs)
        of_chain = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        ends = [(s.info.status, s.info.frontier) for s in (alone, of_chain)]
        np.testing.assert_array_equal(*ends)
        # Programs for one chain and for four round differently: a correction at the very edge of
        # the trust region may cost an iteration in one of them, in some of the five windows.
        more = abs(int(alone.info.num_iterations) - int(of_chain.info.num_iterations))
        assert more <= (1 if window is None else 3)
        assert_same_chain(of_chain.trajectory, np.asarray(alone.trajectory))
        assert_same_chain(of_chain.trajectory, sequential_chain(gated, x0[i], inputs))
        statuses.append(int(alone.info.status))
    if name == "jacobi":
        assert statuses[0] == pm.Status.CONVERGED
        assert statuses[-1] == pm.Status.FINISHED_SEQUENTIALLY


@pytest.mark.parametrize("window", [None, 64])
def test_a_chain_that_stands_still_is_not_followed_step_by_step(window):
    # From out there the first proposal is accepted and the next hundreds are rejected, while the
    # iterates have gone to where the accepted ones of later steps would go.
    target = targets.banana()
    position = {"x": jnp.array([-24.424557, -20.356806])}
    trace = pm.sample(
        jax.random.key(3), pm.hmc(target.logdensity_fn, position, 0.5, None, 8), position, 600,
        solver=pm.deer(), window=window,
    )  # fmt: skip
    x = np.asarray(trace.position["x"][0])
    np.testing.assert_allclose(x[1:], np.broadcast_to(x[1], x[1:].shape), rtol=1e-6)
    assert np.abs(x[1] - x[0]).min() > 10
    # Guesses of 8, 24, 72, ... steps; before there were any, hundreds of iterations.
    assert int(trace.solve.num_iterations[0]) < 30
    assert int(trace.solve.num_resets[0]) > 0 and int(trace.solve.num_sequential_steps[0]) == 0


# Guess, scale, tolerance -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "window"), [("deer", 7), ("jacobi", None)])
def test_no_guess_changes_the_trajectory(name, window, sequential_chain):
    T, rng = 37, np.random.default_rng(0)
    inputs = inputs_of("piecewise", T)
    expected = sequential_chain(gated, x0_of(), inputs)
    noise = rng.normal(size=(T, D)).astype(np.float32)
    some = noise.copy()
    some[[0, 5, T - 1], 1] = np.nan, np.inf, -np.inf
    guesses = {
        "random": (noise, 0),
        "a few not finite": (some, 3),
        "all NaN": (np.full((T, D), np.nan, np.float32), T),
        "huge": (1e30 * noise, 0),
    }
    for guess, num_bad in guesses.values():
        solution = pm.solve(
            gated, x0_of(), inputs, solver=SOLVERS[name], window=window, guess=guess
        )
        assert_same_chain(solution.trajectory, expected)
        assert_ended(solution.info, pm.Status.CONVERGED, T)
        assert int(solution.info.num_resets) >= num_bad

    # And with the trajectory itself there is nothing to do but to see that.
    info = pm.solve(
        gated, x0_of(), inputs, solver=SOLVERS[name], window=window, guess=solution.trajectory
    ).info
    assert int(info.num_iterations) == (1 if window is None else -(-T // window))


@pytest.mark.parametrize("window", [None, 7])
def test_a_tolerance_is_in_units_of_the_scale_given(window):
    # The second coordinate is the slowest, so that its scale decides.
    def slow(x, u):
        return jnp.array([0.1, 0.8, 0.1]) * x + u

    inputs = jax.random.normal(jax.random.key(0), (100, D))

    def solve(tol, scale):
        scale = jnp.array([1.0, scale, 1.0])
        return pm.solve(
            slow, jnp.zeros(D), inputs, solver=pm.jacobi(tol=tol), scale=scale, window=window
        )

    for tol, scale in [(1e-2, 1.0), (1e-4, 100.0), (1e-2, 1e-2), (1e-4, 1.0)]:
        x = solve(tol, scale).trajectory
        residual = residuals(slow, jnp.zeros(D), inputs, x).max(axis=0)
        rounding = 8 * np.finfo(np.float32).eps * np.abs(x).max(axis=0)
        assert np.all(residual <= tol * np.array([1.0, scale, 1.0]) + rounding)
    loose, tight = (int(solve(tol, 1.0).info.num_iterations) for tol in (1e-2, 1e-5))
    assert loose < tight


@pytest.mark.parametrize("window", [None, 7])
def test_the_residual_reported_is_that_of_the_trajectory(window):
    inputs = inputs_of("piecewise", 37)
    info = pm.solve(gated, x0_of(), inputs, solver=pm.jacobi(), window=window).info
    # What trembles does so by a few ulps of numbers of a few spreads.
    assert 0 <= float(info.residual) <= 1e-5


# Failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 7])
def test_a_limit_that_is_too_low_still_gives_the_chain_and_says_so(window, sequential_chain):
    T = 37
    inputs = inputs_of("expanding", T)
    with pytest.warns(pm.ConvergenceWarning) as caught:
        solution = pm.solve(
            gated, x0_of(), inputs, solver=pm.jacobi(max_iterations=3), window=window
        )
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.FINISHED_SEQUENTIALLY, T)

    (warning,) = caught
    info = solution.info
    assert f"step {int(info.frontier)}" in str(warning.message)
    assert f"{int(info.num_sequential_steps)} steps" in str(warning.message)
    assert re.search(r"residual \d\.\de[-+]\d+", str(warning.message))
    assert re.search(r"[Tt]ry .*(window|step_size|pm\.)", str(warning.message))
    # It points at the line that called solve.
    assert warning.filename == __file__


def test_raising_loses_nothing(sequential_chain):
    inputs = inputs_of("expanding", 37)
    with pytest.raises(pm.ConvergenceError, match=r"residual .* at step \d+") as caught:
        pm.solve(gated, x0_of(), inputs, solver=pm.jacobi(max_iterations=3), on_failure="raise")
    result = caught.value.result
    assert_same_chain(result.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(result.info, pm.Status.FINISHED_SEQUENTIALLY, 37)


@quiet
@pytest.mark.parametrize("max_iterations", [1, 2])
def test_with_hardly_an_iteration_the_chain_is_still_right(max_iterations, sequential_chain):
    inputs = inputs_of("piecewise", 37)
    solver = pm.jacobi(max_iterations=max_iterations)
    solution = pm.solve(gated, x0_of(), inputs, solver=solver)
    assert_same_chain(solution.trajectory, sequential_chain(gated, x0_of(), inputs))
    assert_ended(solution.info, pm.Status.FINISHED_SEQUENTIALLY, 37)


def falls(x, u):
    """The square root leaves its domain, for good, where the sum turns negative."""
    return jnp.sqrt(x) + u


@pytest.mark.parametrize(
    ("name", "window"),
    [("deer", None), ("deer", 7), ("quasi_deer", 7), ("jacobi", None), ("sequential", None)],
)
@pytest.mark.parametrize("bad_step", [0, 17, 36])
def test_a_recursion_that_becomes_nan_is_never_converged(name, window, bad_step, sequential_chain):
    T = 37
    inputs = np.abs(np.random.default_rng(0).normal(size=(T, 2))).astype(np.float32) + 0.1
    inputs[bad_step, 1] = -np.inf if bad_step == 36 else -50.0
    expected = sequential_chain(falls, jnp.ones(2), inputs)
    assert not np.all(np.isfinite(expected))
    assert np.all(np.isfinite(expected[:bad_step]))
    with pytest.warns(pm.ConvergenceWarning, match="non-finite"):
        solution = pm.solve(falls, jnp.ones(2), inputs, solver=SOLVERS[name], window=window)
    assert int(solution.info.status) == pm.Status.NON_FINITE
    # NaN and infinity at the same places, and the finite states within rounding.
    np.testing.assert_allclose(solution.trajectory, expected, rtol=1e-5)


def recovers(x, u):
    """Infinite where the divisor is zero, and finite again at the next step."""
    return 0.5 * jnp.tanh(jnp.where(jnp.isfinite(x), x, 2.0)) + u["noise"] / u["divisor"]


@pytest.mark.parametrize(
    ("name", "window"), [("deer", 7), ("jacobi", None), ("jacobi", 7), ("sequential", None)]
)
@pytest.mark.parametrize("bad_step", [0, 6, 7, 8, 17])
def test_a_recursion_may_pass_through_infinity(name, window, bad_step, sequential_chain):
    noise = jax.random.normal(jax.random.key(0), (37, 2))
    inputs = {"noise": noise, "divisor": jnp.ones(37).at[bad_step].set(0.0)}
    expected = sequential_chain(recovers, jnp.zeros(2), inputs)
    assert np.array_equal(np.flatnonzero(np.isinf(expected).any(axis=1)), [bad_step])
    with pytest.warns(pm.ConvergenceWarning, match="non-finite"):
        solution = pm.solve(recovers, jnp.zeros(2), inputs, solver=SOLVERS[name], window=window)
    assert int(solution.info.status) == pm.Status.NON_FINITE
    np.testing.assert_allclose(solution.trajectory, expected, rtol=1e-4, atol=1e-5)


@quiet
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_what_f_makes_of_it(value, window, sequential_chain):
    noise = jax.random.normal(jax.random.key(0), (37, 2))
    inputs, x0 = {"noise": noise, "divisor": jnp.ones(37)}, jnp.array([value, 1.0])
    solution = pm.solve(recovers, x0, inputs, solver=pm.jacobi(), window=window)
    expected = sequential_chain(recovers, x0, inputs)
    assert np.all(np.isfinite(expected))
    assert_same_chain(solution.trajectory, expected)


def test_raising_holds_for_a_recursion_that_is_not_finite():
    inputs = jnp.ones((37, 2)).at[17].set(-50.0)
    with pytest.raises(pm.ConvergenceError, match="non-finite") as caught:
        pm.solve(falls, jnp.ones(2), inputs, on_failure="raise", solver=pm.deer())
    assert int(caught.value.result.info.status) == pm.Status.NON_FINITE


def test_a_derivative_that_is_not_finite_is_kept_out_and_counted(sequential_chain):
    # The square root at zero: f is finite, its derivative is not.
    def f(x, u):
        return jnp.sqrt(jnp.abs(x)) * u

    inputs = jax.random.uniform(jax.random.key(0), (37, 2)).at[::5].set(0.0)
    solution = pm.solve(f, jnp.ones(2), inputs, solver=SOLVERS["exact_diagonal"])
    assert_same_chain(solution.trajectory, sequential_chain(f, jnp.ones(2), inputs))
    assert_ended(solution.info, pm.Status.CONVERGED, 37)
    assert int(solution.info.num_resets) > 0


def test_a_warning_is_not_given_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pm.solve(gated, x0_of(), inputs_of("contracting", 37), solver=pm.deer())


# Wrong arguments -------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_without_a_step_is_an_error(window):
    with pytest.raises(ValueError, match=rf"window must be at least 1.*{window}"):
        pm.solve(gated, x0_of(), inputs_of("contracting", 37), window=window, solver=pm.deer())


def test_an_integer_state_is_an_error():
    with pytest.raises(TypeError, match=r"float32 or float64.*int32"):
        pm.solve(
            lambda x, u: x + u,
            jnp.zeros(2, jnp.int32),
            jnp.ones((37, 2), jnp.int32),
            solver=pm.deer(),
        )


def test_a_half_precision_state_is_an_error():
    with pytest.raises(TypeError, match=r"float32 or float64.*bfloat16"):
        pm.solve(
            lambda x, u: x + u,
            jnp.zeros(2, jnp.bfloat16),
            jnp.ones((37, 2), jnp.bfloat16),
            solver=pm.deer(),
        )


def test_an_integer_leaf_among_floats_is_an_error():
    # As a float it would lose digits.
    def f(state, u):
        return {"count": state["count"] + 1, "x": 0.5 * state["x"] + u}

    x0 = {"count": jnp.array(2**24, jnp.int32), "x": jnp.zeros(2)}
    with pytest.raises(TypeError, match=r"float32 or float64, got int32 at \['count'\]"):
        pm.solve(f, x0, jnp.ones((37, 2)), solver=pm.deer())


@pytest.mark.parametrize(
    "name",
    ["jacobi", "sequential"],
)
def test_a_recursion_that_changes_the_shape_of_its_state_is_an_error(name):
    with pytest.raises(TypeError, match="f must return a state like x0"):
        pm.solve(
            lambda x, u: jnp.sum(x + u, keepdims=True) / 4,
            jnp.zeros(2),
            jnp.ones((37, 2)),
            solver=SOLVERS[name],
        )


def test_a_recursion_that_changes_the_structure_of_its_state_is_an_error():
    with pytest.raises(TypeError, match="f must return a state like x0"):
        pm.solve(
            lambda state, u: {"b": 0.5 * state["a"] + u, "c": jnp.zeros(2)},
            {"a": jnp.zeros(2), "z": jnp.zeros(2)},
            jnp.ones((37, 2)),
            solver=pm.deer(),
        )


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": np.ones((5, 2)), "b": np.ones((4, 2))},
        np.ones((0, 2)),
        {"a": np.ones((5, 2)), "b": np.ones(())},
        {},
    ],
    ids=["different lengths", "no step", "no time axis", "no inputs"],
)
def test_inputs_that_do_not_share_time_are_an_error(inputs):
    with pytest.raises(ValueError, match="leading axis"):
        pm.solve(lambda x, u: x, jnp.zeros(2), inputs, solver=pm.deer())


def test_an_unknown_reaction_to_failure_is_an_error():
    with pytest.raises(ValueError, match=r"on_failure must be .*'ignore'"):
        pm.solve(
            gated, x0_of(), inputs_of("contracting", 37), on_failure="ignore", solver=pm.deer()
        )


@pytest.mark.parametrize("guess_shape", [(36, D), (37, D + 1)])
def test_a_guess_of_another_shape_is_an_error(guess_shape):
    with pytest.raises((TypeError, ValueError)):
        pm.solve(
            gated,
            x0_of(),
            inputs_of("contracting", 37),
            guess=jnp.zeros(guess_shape),
            solver=pm.deer(),
        )
