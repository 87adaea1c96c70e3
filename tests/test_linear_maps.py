"""Each linear map does what the dense matrix that it stands for does."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc._core.linear_maps import Block2x2, Dense, Diagonal, Identity, Zero, spectral_norm

D, H = 4, 2


@jax.jit
def limit(A, max_norm, unit=(1.0,) * D):
    """The limited map, and which matrices that changed."""
    factor, limited = A.limit(max_norm, jnp.stack(unit))
    return A.scale_rows(factor), limited


KINDS = ["dense", "diagonal", "block2x2", "identity", "zero"]


def random_map(kind, seed, dtype, T=6, scale=1.0):
    """A linear map and, built from the definition in numpy, the dense matrices it stands for."""
    rng = np.random.default_rng(seed)
    if kind == "dense":
        matrix = scale * rng.normal(size=(T, D, D))
        return Dense(jnp.asarray(matrix, dtype)), matrix
    if kind == "diagonal":
        diagonal = scale * rng.normal(size=(T, D))
        return Diagonal(jnp.asarray(diagonal, dtype)), diagonal[:, :, None] * np.eye(D)
    if kind == "block2x2":
        a, b, c, d = scale * rng.normal(size=(4, T, H))
        matrix = np.zeros((T, D, D))
        for i in range(H):
            matrix[:, i, i], matrix[:, i, H + i] = a[:, i], b[:, i]
            matrix[:, H + i, i], matrix[:, H + i, H + i] = c[:, i], d[:, i]
        return Block2x2(*(jnp.asarray(block, dtype) for block in (a, b, c, d))), matrix
    if kind == "identity":
        return Identity(), np.broadcast_to(np.eye(D), (T, D, D))
    return Zero(), np.zeros((T, D, D))


def separated(rng, T, size, leading=(1.0, 1.0)):
    """Matrices whose second singular value is at most half the first.

    Eight power iterations leave at most (1/2)^32 of the other directions.
    """
    U = np.linalg.qr(rng.normal(size=(T, size, size)))[0]
    V = np.linalg.qr(rng.normal(size=(T, size, size)))[0]
    first = rng.uniform(*leading, size=(T, 1))
    others = first * rng.uniform(0, 0.5, size=(T, size - 1))
    return U * np.concatenate([first, others], axis=1)[:, None, :] @ V


def as_matrices(A, T, dtype):
    """The dense matrices of a map, column by column."""
    columns = [A.apply(jnp.broadcast_to(e, (T, D))) for e in np.eye(D, dtype=dtype)]
    return np.stack(columns, axis=-1)


def few_ulps(dtype):
    # Sums of D = 4 products of numbers of order one.
    return 32 * np.finfo(dtype).eps


@pytest.mark.parametrize("kind", KINDS)
def test_apply_is_the_product_with_the_dense_matrix(kind, dtype):
    A, matrix = random_map(kind, 0, dtype)
    x = np.random.default_rng(1).normal(size=(6, D))
    expected = np.einsum("tij,tj->ti", matrix, x)
    np.testing.assert_allclose(A.apply(jnp.asarray(x, dtype)), expected, atol=few_ulps(dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_compose_is_the_product_of_the_dense_matrices_and_keeps_the_kind(kind, dtype):
    A, matrix_A = random_map(kind, 2, dtype)
    B, matrix_B = random_map(kind, 3, dtype)
    AB = A.compose(B)
    assert type(AB) is type(A)
    np.testing.assert_allclose(
        as_matrices(AB, 6, dtype), matrix_A @ matrix_B, atol=4 * few_ulps(dtype)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_leading_axes_are_free(kind):
    A, matrix = random_map(kind, 4, np.float32)
    A = jax.tree.map(lambda leaf: leaf.reshape(2, 3, *leaf.shape[1:]), A)
    x = jnp.asarray(np.random.default_rng(5).normal(size=(2, 3, D)), jnp.float32)
    expected = np.einsum("abij,abj->abi", matrix.reshape(2, 3, D, D), x)
    np.testing.assert_allclose(A.apply(x), expected, atol=few_ulps(np.float32))
    AA = A.compose(A).apply(x)
    np.testing.assert_allclose(AA, A.apply(A.apply(x)), atol=4 * few_ulps(np.float32))


@pytest.mark.parametrize("kind", ["dense", "diagonal", "block2x2"])
@pytest.mark.parametrize("max_norm", [0.5, 1.0, 3.0])
def test_limit_bounds_the_norm_and_reports_what_it_changed(kind, max_norm, dtype):
    # The scale is such that the limit meets some of the matrices and not all.
    scale = {"dense": 1.0, "diagonal": 0.7, "block2x2": 0.5}[kind] * max_norm
    A, matrix = random_map(kind, 6, dtype, T=200, scale=scale)
    if kind == "dense":
        matrix = scale * separated(np.random.default_rng(6), 200, D, leading=(0.5, 1.5))
        A = Dense(jnp.asarray(matrix, dtype))
    norm = np.linalg.norm(matrix, ord=2, axis=(1, 2))
    limited, changed = limit(A, max_norm)
    after = np.linalg.norm(as_matrices(limited, 200, dtype), ord=2, axis=(1, 2))

    assert type(limited) is type(A)
    assert np.all(after <= max_norm * (1 + 1e-5))
    np.testing.assert_array_equal(changed, norm > max_norm)
    assert 20 < changed.sum() < 180
    for new, old in zip(limited, A, strict=True):
        np.testing.assert_array_equal(new[~changed], old[~changed])


@pytest.mark.parametrize("kind", ["dense", "diagonal", "block2x2"])
@pytest.mark.parametrize("shape", [(6, D), (6, 1)])
def test_rows_are_scaled(kind, shape, dtype):
    A, matrix = random_map(kind, 1, dtype)
    factor = np.random.default_rng(2).normal(size=shape)
    scaled = A.scale_rows(jnp.asarray(factor, dtype))
    expected = factor[:, :, None] * matrix
    np.testing.assert_allclose(as_matrices(scaled, 6, dtype), expected, atol=few_ulps(dtype))


@pytest.mark.parametrize("kind", ["identity", "zero"])
def test_identity_and_zero_need_no_limit(kind):
    A, _ = random_map(kind, 0, np.float32)
    limited, changed = limit(A, 1.0)
    assert limited == A
    assert not np.any(changed)


@pytest.mark.parametrize("kind", ["dense", "diagonal", "block2x2"])
def test_limit_is_the_same_in_any_units(kind):
    # A in units s is S^-1 A S. What the limit does must not depend on which units a user chose.
    A, matrix = random_map(kind, 9, np.float32, T=50)
    unit = np.array([1e-3, 1.0, 30.0, 1e4], np.float32)
    rescaled = matrix * unit[:, None] / unit
    if kind == "dense":
        A_rescaled = Dense(jnp.asarray(rescaled, np.float32))
    elif kind == "diagonal":
        A_rescaled = A
    else:
        A_rescaled = A._replace(b=A.b * (unit[:H] / unit[H:]), c=A.c * (unit[H:] / unit[:H]))
    limited, changed = limit(A, 1.0)
    limited_rescaled, changed_rescaled = limit(A_rescaled, 1.0, tuple(unit))
    np.testing.assert_array_equal(changed, changed_rescaled)
    np.testing.assert_allclose(
        as_matrices(limited_rescaled, 50, np.float32),
        as_matrices(limited, 50, np.float32) * unit[:, None] / unit,
        rtol=1e-4,
    )


def test_limit_keeps_the_direction_of_a_dense_matrix():
    A, matrix = random_map("dense", 7, np.float32, scale=5.0)
    limited = np.asarray(limit(A, 1.0)[0].matrix)
    ratio = limited / matrix
    np.testing.assert_allclose(ratio, ratio[:, :1, :1] * np.ones((D, D)), rtol=1e-5)
    assert np.all(ratio > 0)


@pytest.mark.parametrize(
    ("kind", "magnitude"),
    list(itertools.product(("dense", "diagonal", "block2x2"), (1e-30, 1e-9, 1e30))),
)
def test_limit_holds_for_any_float32_magnitude(kind, magnitude):
    # Jacobians along an orbit that escapes grow without bound: their squares overflow
    # long before they do, and a limit that overflows with them would limit nothing.
    A, _ = random_map(kind, 8, np.float32, T=200, scale=magnitude)
    limited, changed = limit(A, 1.0)
    after = np.linalg.norm(as_matrices(limited, 200, np.float32).astype(float), ord=2, axis=(1, 2))
    assert np.all(after <= 1.2)
    assert np.all(after > 0)
    np.testing.assert_array_equal(changed, magnitude > 1)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_spectral_norm_is_the_largest_singular_value_where_it_stands_alone(size, dtype):
    matrix = jnp.asarray(separated(np.random.default_rng(size), 100, size), dtype)
    expected = np.linalg.svd(np.asarray(matrix, float), compute_uv=False)[:, 0]
    np.testing.assert_allclose(jax.jit(spectral_norm)(matrix), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 5, 20])
def test_spectral_norm_is_approached_from_below(size):
    # A start with component c along the leading direction gives at least c^(1/17) of the
    # norm after eight iterations (power means), whatever the other values: .76 for c = .01.
    matrix = np.random.default_rng(size).normal(size=(500, size, size)).astype(np.float32)
    ratio = (
        np.asarray(jax.jit(spectral_norm)(matrix)) / np.linalg.svd(matrix, compute_uv=False)[:, 0]
    )
    assert np.all(ratio <= 1 + 1e-5)
    assert ratio.min() > 0.76
    assert np.mean(ratio) > 0.98


def test_spectral_norm_where_the_longest_row_is_not_in_the_leading_direction():
    # Rows 2 to 5 share one direction, of norm 2 * .9; the first row is longer than each.
    matrix = np.zeros((5, 5), np.float32)
    matrix[0, 0], matrix[1:, 1] = 1.0, 0.9
    np.testing.assert_allclose(jax.jit(spectral_norm)(matrix), 1.8, rtol=0.1)


def test_spectral_norm_of_simple_matrices():
    zero = np.zeros((3, 3), np.float32)
    rank_one = np.outer([1.0, 2.0, 2.0], [0.0, 3.0, 4.0]).astype(np.float32)
    nilpotent = np.array([[0, 7, 0], [0, 0, 1], [0, 0, 0]], np.float32)
    rotation = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]], np.float32)
    values = jax.jit(spectral_norm)(np.stack([zero, rank_one, nilpotent, rotation]))
    np.testing.assert_allclose(values, [0, 15, 7, 1], rtol=1e-5)
