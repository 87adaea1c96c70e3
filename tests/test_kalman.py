"""Loop, tree and a dense least-squares solve agree on the penalised linear recurrence."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.kalman import kalman_scan, loop_filter, smooth, tree_filter
from parallel_mcmc._core.linear_maps import Block2x2, Dense, Diagonal
from parallel_mcmc._core.penalty import penalised_recurrence
from parallel_mcmc._core.scans import affine_scan

pytestmark = pytest.mark.slow

D = 3
KINDS = ["dense", "diagonal"]


def smoothed(filter_):
    return lambda A, r, penalty: smooth(A, r, *filter_(A, r, penalty))


SCANS = {"kalman": kalman_scan, "loop": smoothed(loop_filter), "tree": smoothed(tree_filter)}


def random_problem(kind, T, dtype, size=1.0, seed=0):
    """Maps of norm about ``size``, their matrices, and residuals."""
    rng = np.random.default_rng(seed)
    matrix, r = size * rng.normal(size=(T, D, D)), rng.normal(size=(T, D))
    if kind == "dense":
        return Dense(jnp.asarray(matrix, dtype)), matrix, r
    diagonal = np.einsum("tii->ti", matrix)
    return Diagonal(jnp.asarray(diagonal, dtype)), diagonal[:, :, None] * np.eye(D), r


def least_squares(matrix, r, penalty):
    """The normal equations, block tridiagonal, as one dense system in double precision."""
    T = len(r)
    B = np.eye(T * D)
    for t in range(1, T):
        B[t * D : (t + 1) * D, (t - 1) * D : t * D] = -matrix[t]
    d = np.linalg.solve(B.T @ B + penalty * np.eye(T * D), B.T @ r.ravel())
    return d.reshape(T, D)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("T", "precision"), [(1, 32), (7, 64), (32, 32)])
def test_every_scan_solves_the_penalised_least_squares_problem(scan, kind, T, precision):
    with jax.enable_x64(precision == 64):
        dtype = np.dtype(f"float{precision}")
        A, matrix, r = random_problem(kind, T, dtype)
        for penalty in (1e-2, 1.0, 100.0):
            expected = least_squares(matrix, r, penalty)
            d = jax.jit(SCANS[scan])(A, jnp.asarray(r, dtype), penalty)
            assert d.dtype == dtype
            # Rounding is amplified by the condition of the problem, about |A|^2 / penalty.
            atol = 1e4 * np.finfo(dtype).eps * max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(d, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_penalty_it_is_the_linear_recurrence(scan, kind, x64):
    A, _, r = random_problem(kind, 32, np.float64, size=0.5)
    d, exact = SCANS[scan](A, jnp.asarray(r), 0.0), affine_scan(A, jnp.asarray(r))
    np.testing.assert_allclose(d, exact, rtol=0, atol=1e-9)
    nearly = SCANS[scan](A, jnp.asarray(r), 1e-8)
    np.testing.assert_allclose(nearly, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_correction_is_bounded_where_the_recurrence_explodes(scan, kind):
    # Singular values s of the system give s / (s^2 + penalty) <= 1 / (2 sqrt(penalty)).
    A, _, r = random_problem(kind, 200, np.float32, size=10.0)
    for penalty in (1e-2, 1.0):
        d = np.asarray(SCANS[scan](A, jnp.asarray(r, jnp.float32), penalty))
        assert np.all(np.isfinite(d))
        assert np.linalg.norm(d) <= np.linalg.norm(r) / (2 * penalty**0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_per_chain_under_vmap(kind):
    problems = [random_problem(kind, 7, np.float32, seed=seed) for seed in range(3)]
    A = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[A for A, _, _ in problems])
    r = jnp.asarray(np.stack([r for _, _, r in problems]), jnp.float32)
    d = jax.jit(jax.vmap(lambda A, r: kalman_scan(A, r, 1.0)))(A, r)
    expected = np.stack([least_squares(matrix, r, 1.0) for _, matrix, r in problems])
    np.testing.assert_allclose(d, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False)])
def test_it_loops_on_a_cpu_alone(kind, platform, loops):
    A, _, r = random_problem(kind, 64, np.float32)
    # The inverse of a matrix is a custom call of the platform's own, not a loop.
    exported = jax.export.export(
        jax.jit(kalman_scan),
        platforms=[platform],
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(name) for name in CALLS],
    )(A, jnp.asarray(r, jnp.float32), 1.0)
    assert ("stablehlo.while" in exported.mlir_module()) == loops


CALLS = ["lapack_sgetrf_ffi", "cusolver_getrf_ffi", "cublas_getrf_batched_ffi", "cu_lu_pivots"]


def test_other_maps_are_an_error():
    with pytest.raises(TypeError, match=r"Dense and Diagonal maps, got Block2x2; use pm\."):
        kalman_scan(Block2x2(*jnp.ones((4, 5, 1))), jnp.ones((5, 2)), 1.0)


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.nan])
def test_a_penalty_that_is_not_positive_is_an_error(penalty):
    with pytest.raises(ValueError, match=rf"penalty must be positive, got {penalty}; pm\.deer"):
        pm.elk(penalty)


# In the loop ----------------------------------------------------------------------------


def test_solved_steps_are_held_and_those_behind_them_are_solved_as_if_alone(x64):
    A, matrix, r = random_problem("dense", 12, np.float64)
    unit, k = np.array([1.0, 1e3, 1e-3]), 5
    A = A.in_units(1 / unit)
    d = penalised_recurrence(A, jnp.asarray(unit * r), jnp.asarray(unit), jnp.asarray(k), 1.0)
    np.testing.assert_array_equal(d[:k], 0)
    np.testing.assert_allclose(d[k:] / unit, least_squares(matrix[k:], r[k:], 1.0), atol=1e-9)


@pytest.mark.parametrize("make", [pm.elk, pm.quasi_elk])
def test_the_units_of_the_coordinates_do_not_matter(make):
    # Powers of two scale without rounding. The scale is given, as `spread` of a start that
    # does not move is zero in all units.
    mix = jnp.array([[0.9, 0.4], [-0.5, 1.1]])
    noise = 0.3 * jax.random.normal(jax.random.key(0), (40, 2))

    def count(unit):
        def f(x, u):
            return unit * (2 * jnp.sin(mix @ (x / unit)) + u)

        solver = make(penalty=1.0, trust_radius=0.0)
        info = pm.solve(f, unit * jnp.ones(2), noise, solver=solver, scale=unit).info
        assert int(info.status) == pm.Status.CONVERGED
        return int(info.num_iterations), int(info.num_limited)

    assert count(jnp.array([1.0, 1.0])) == count(jnp.array([1024.0, 2.0**-10]))


@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
@pytest.mark.parametrize("make", [pm.elk, pm.quasi_elk])
def test_after_i_iterations_the_first_i_states_are_exact_though_all_corrections_are_penalised(make):
    # The map expands, so that later residuals pull hard at early states.
    def f(x, u):
        return 3 * jnp.sin(2 * x[::-1]) + u

    T, x0 = 40, jnp.array([0.3, -1.0])
    u = jax.random.normal(jax.random.key(0), (T, 2))
    for i in (2, 10, T + 1):
        solver = make(penalty=1.0, trust_radius=0.0, max_iterations=i)
        info = pm.solve(f, x0, u, solver=solver).info
        assert int(info.frontier) >= i - 1
    assert int(info.status) == pm.Status.CONVERGED


def test_newtons_last_iterations_remain_newtons():
    # Linear and contracting: as for `deer`, one iteration to solve it and some to see it tremble.
    def linear(x, u):
        return 0.9 * x + u

    inputs = jax.random.normal(jax.random.key(0), (200, 3))
    for solver in (pm.elk(), pm.quasi_elk()):
        info = pm.solve(linear, jnp.zeros(3), inputs, solver=solver).info
        assert int(info.num_iterations) <= 8
