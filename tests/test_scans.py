"""Loop, tree and dense reference solve the same linear recurrence."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc._core.linear_maps import Block2x2, Dense, Diagonal, Identity, Zero
from parallel_mcmc._core.scans import affine_scan, loop_scan, tree_scan

D, H = 4, 2
KINDS = ["dense", "diagonal", "block2x2", "identity", "zero"]
SCANS = {"affine": affine_scan, "loop": loop_scan, "tree": tree_scan}


def random_problem(kind, T, dtype, seed=0):
    """A map per step, its dense matrices, and offsets; norms of about one."""
    rng = np.random.default_rng(seed)
    b = rng.normal(size=(T, D))
    if kind == "dense":
        matrix = 0.5 * rng.normal(size=(T, D, D))
        A = Dense(jnp.asarray(matrix, dtype))
    elif kind == "diagonal":
        diagonal = rng.uniform(-1.1, 1.1, size=(T, D))
        A, matrix = Diagonal(jnp.asarray(diagonal, dtype)), diagonal[:, :, None] * np.eye(D)
    elif kind == "block2x2":
        blocks = 0.7 * rng.normal(size=(4, T, H))
        matrix = np.zeros((T, D, D))
        for i in range(H):
            matrix[:, i, i], matrix[:, i, H + i] = blocks[0, :, i], blocks[1, :, i]
            matrix[:, H + i, i], matrix[:, H + i, H + i] = blocks[2, :, i], blocks[3, :, i]
        A = Block2x2(*jnp.asarray(blocks, dtype))
    elif kind == "identity":
        A, matrix = Identity(), np.broadcast_to(np.eye(D), (T, D, D))
    else:
        A, matrix = Zero(), np.zeros((T, D, D))
    return A, matrix, b


def dense_reference(matrix, b):
    """x_t = A_t x_{t-1} + b_t with x_0 = 0, in numpy and double precision."""
    x, trajectory = np.zeros(D), []
    for A_t, b_t in zip(matrix, b, strict=True):
        x = A_t @ x + b_t
        trajectory.append(x)
    return np.stack(trajectory)


def tolerance(dtype, expected):
    # Rounding accumulates over at most 32 steps of norm about one.
    return 200 * np.finfo(dtype).eps * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("T", "precision"), [(1, 32), (7, 64), (32, 32)])
def test_every_scan_solves_the_recurrence(scan, kind, T, precision):
    with jax.enable_x64(precision == 64):
        check_recurrence(SCANS[scan], kind, T, np.dtype(f"float{precision}"))


def check_recurrence(scan, kind, T, dtype):
    A, matrix, b = random_problem(kind, T, dtype)
    expected = dense_reference(matrix, b)
    x = jax.jit(scan)(A, jnp.asarray(b, dtype))
    assert x.dtype == dtype
    np.testing.assert_allclose(x, expected, rtol=0, atol=tolerance(dtype, expected))


@pytest.mark.parametrize("scan", ["loop", "tree"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_scan_runs_per_chain_under_vmap(scan, kind):
    problems = [random_problem(kind, 7, np.float32, seed) for seed in range(3)]
    A = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[A for A, _, _ in problems])
    b = jnp.asarray(np.stack([b for _, _, b in problems]), jnp.float32)
    x = jax.jit(jax.vmap(SCANS[scan]))(A, b)
    expected = np.stack([dense_reference(matrix, b) for _, matrix, b in problems])
    np.testing.assert_allclose(x, expected, rtol=0, atol=tolerance(np.float32, expected))


@pytest.mark.parametrize("kind", ["dense", "diagonal", "block2x2"])
@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_affine_scan_loops_on_a_cpu_alone(kind, platform, loops):
    A, _, b = random_problem(kind, 64, np.float32)
    exported = jax.export.export(jax.jit(affine_scan), platforms=[platform])(A, jnp.asarray(b))
    assert ("stablehlo.while" in exported.mlir_module()) == loops


@pytest.mark.parametrize("scan", SCANS)
def test_a_zero_map_resets_the_state(scan):
    # Where A_t = 0 the past is forgotten, however large it is.
    A = Diagonal(jnp.array([[2.0], [2.0], [0.0], [2.0]]))
    b = jnp.array([[1e6], [1e6], [1.0], [1.0]])
    np.testing.assert_array_equal(SCANS[scan](A, b)[2:, 0], [1.0, 3.0])
