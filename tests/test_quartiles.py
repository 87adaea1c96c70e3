"""Quartiles without a sort are those of one, to the last bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc._core.quartiles import by_counting, by_ranking, quartiles

# Not denormal numbers, which a sort of XLA takes for zeros.
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-37, -1e-37, 3e38, -3e38]


def rows(n, dtype):
    """Columns of ordinary numbers, of numbers that repeat, and of special ones."""
    rng = np.random.default_rng(n)
    columns = [rng.normal(size=n), rng.integers(-2, 3, n), rng.choice(SPECIAL, n)]
    return jnp.asarray(np.stack(columns, axis=1), dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 100, 511])
def test_both_find_what_sorting_does(n, dtype):
    x = rows(n, dtype)
    expected = np.sort(x, axis=0)[[n // 4, n // 2, 3 * n // 4]]
    np.testing.assert_array_equal(by_counting(x), expected)
    np.testing.assert_array_equal(by_ranking(x), expected)
    np.testing.assert_array_equal(quartiles(x), expected)


def test_each_of_several_chains_has_its_own():
    x = jax.random.normal(jax.random.key(0), (3, 50, 2))
    expected = np.sort(x, axis=1)[:, [12, 25, 37]]
    np.testing.assert_array_equal(jax.vmap(by_counting)(x), expected)
    np.testing.assert_array_equal(jax.vmap(by_ranking)(x), expected)
