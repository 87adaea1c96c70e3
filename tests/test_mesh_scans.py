"""What crosses time, on four devices: scans in pieces, rows before and after, samples of rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_devices import WHICH, on_four, over_time, pass_on_four_devices
from jax.sharding import PartitionSpec

from parallel_mcmc._core import across, rows
from parallel_mcmc._core.across import Axis
from parallel_mcmc._core.linear_maps import Block2x2, Dense, Diagonal, Identity, Zero
from parallel_mcmc._core.scans import affine_scan

T, D = 44, 2
RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


MAPS = {
    "dense": Dense(draw(T, D, D) / 2),
    "diagonal": Diagonal(draw(T, D)),
    "blocks": Block2x2(*(draw(T, D // 2) / 2 for _ in range(4))),
    "identity": Identity(),
    "zero": Zero(),
}


def in_pieces(f, replicated=False):
    """A function of arrays with time leading, of which each device has a piece."""

    def piece(*args):
        with across.over(Axis("time", 4)):
            return f(*args)

    time = PartitionSpec("time")
    return jax.jit(
        jax.shard_map(
            piece,
            mesh=over_time(),
            in_specs=time,
            out_specs=PartitionSpec() if replicated else time,
            check_vma=False,
        )
    )


@pytest.fixture(params=["a CPU", "another device"])
def device(request, monkeypatch):
    if request.param == "a CPU":
        yield
        return
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    jax.clear_caches()
    yield
    jax.clear_caches()


@on_four
@pytest.mark.parametrize("kind", MAPS)
def test_a_scan_in_pieces_is_that_of_one_device(kind, device):
    A, b = MAPS[kind], draw(T, D)
    np.testing.assert_allclose(
        in_pieces(affine_scan)(A, b), affine_scan(A, b), rtol=1e-4, atol=1e-5
    )


@on_four
def test_a_product_that_overflows_does_not_spoil_the_pieces_after_it():
    """Zero times infinity: nothing is to be corrected before the third piece."""
    b = jnp.zeros((T, D)).at[T // 2 + 1].set(1)
    A = Diagonal(jnp.full((T, D), 1e9).at[T // 2 :].set(0.5))
    expected = affine_scan(A, b)
    assert np.all(np.isfinite(expected))
    np.testing.assert_allclose(in_pieces(affine_scan)(A, b), expected)


@on_four
def test_rows_before_and_after_are_those_of_the_whole_chain():
    x = draw(T, D)
    np.testing.assert_array_equal(in_pieces(functools.partial(rows.before, first=7))(x)[1:], x[:-1])
    np.testing.assert_array_equal(in_pieces(functools.partial(rows.before, first=7))(x)[0], 7)
    np.testing.assert_array_equal(in_pieces(rows.after)(x)[:-1], x[1:])
    np.testing.assert_array_equal(in_pieces(rows.after)(x)[-1], 0)


@on_four
@pytest.mark.parametrize("index", [[0, T - 1], [3], list(range(0, T, 5)), [40, 1, 12, 13, 2]])
def test_rows_of_known_number_are_on_every_device(index):
    x, index = draw(T, D), np.array(index)
    pick = in_pieces(functools.partial(across.rows_at, index=index), replicated=True)
    np.testing.assert_array_equal(pick(x), x[index])


@on_four
def test_counts_and_leading_steps_are_those_of_the_whole_chain():
    true = jnp.ones(T, bool).at[25].set(False).at[30].set(False)
    leading = in_pieces(rows.num_leading, replicated=True)
    assert int(leading(true)) == 25
    assert int(leading(jnp.ones(T, bool))) == T

    def both(true):
        return rows.least_and_sums((rows.first_false(true),), (~true,))

    assert [int(n) for n in in_pieces(both, replicated=True)(true)] == [25, 2]
    assert not in_pieces(rows.every, replicated=True)(true)


@pytest.mark.parametrize("which", WHICH[:1])
def test_these_tests_pass_on_four_devices(which):
    pass_on_four_devices(__file__, which)
