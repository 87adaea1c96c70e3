"""Steps evaluated block by block: the same values as all at once, in the memory of a block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core import time_blocks
from parallel_mcmc._core.time_blocks import (
    CACHE_BYTES,
    FEW,
    MANY,
    block_length,
    bytes_of_data,
    map_steps,
    map_steps_keep_last,
    widest,
)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of the least length, on any device."""
    monkeypatch.setattr(time_blocks, "STEPS_OF_A_BYTE", 1)
    monkeypatch.setattr(time_blocks, "DEVICE_BYTES", 1)


def with_key_and_loop(x, u):
    """A loop as long as the state says, and noise from a key."""
    noise = jax.random.normal(u["key"], x.shape)
    y, _ = jax.lax.while_loop(
        lambda carry: carry[1] < u["num_turns"], lambda c: (jnp.sin(c[0]) + c[0], c[1] + 1), (x, 0)
    )
    return {"y": y + noise, "norm": (jnp.sum(y**2), u["num_turns"] > 2)}


def steps(T):
    inputs = {"key": jax.random.split(jax.random.key(1), T), "num_turns": jnp.arange(T) % 5}
    return jax.random.normal(jax.random.key(0), (T, 3)), inputs


@pytest.mark.parametrize("T", [1, 7, 8, 9, 24, 31])
def test_blocks_give_what_vmap_gives(T, small_blocks):
    x, inputs = steps(T)
    found = jax.jit(lambda x, u: map_steps(with_key_and_loop, x, u))(x, inputs)
    expected = jax.jit(jax.vmap(with_key_and_loop))(x, inputs)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_blocks_of_many_chains_that_each_have_a_model(small_blocks):
    x, inputs = jax.tree.map(lambda a: a.reshape(2, 100, *a.shape[1:]), steps(200))
    scales = jnp.array([2.0, 3.0])

    @jax.jit
    @jax.vmap
    def blocked(scale, x, inputs):
        return map_steps(lambda x, u: with_key_and_loop(scale * x, u), x, inputs)

    found = blocked(scales, x, inputs)
    expected = jax.vmap(jax.vmap(with_key_and_loop))(scales[:, None, None] * x, inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_memory_is_that_of_a_block(small_blocks):
    T, N = 1_000, 100_000
    data = jnp.linspace(-1, 1, N)

    def f(x, u):
        return x - jnp.mean(jnp.tanh(data * x) @ jnp.ones((N, 2))) * u

    arguments = jnp.ones((T, 1)), jnp.ones(T)
    compiled = jax.jit(lambda x, u: map_steps(f, x, u)).lower(*arguments).compile()
    whole = jax.jit(jax.vmap(f)).lower(*arguments).compile()
    logits = 4 * N
    assert whole.memory_analysis().temp_size_in_bytes > T * logits
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * FEW * logits


def test_blocks_are_short_where_steps_are_wide_and_fill_vectors():
    assert block_length(100, 8) == 100
    assert block_length(1_000, 8) == 168  # 6 blocks of 167 steps, in eights
    assert block_length(1_000, 8) > block_length(1_000, 2_000) > block_length(1_000, 50_000)
    assert block_length(1_000, 50_000) % 8 == 0
    assert block_length(1_000, 10**12) == FEW
    assert block_length(3, 10**12) == 3


@pytest.mark.parametrize("num_bytes", [1, 300, 12_000, 10**9])
def test_blocks_are_within_the_steps(num_bytes):
    for T in range(1, 500):
        length = block_length(T, num_bytes)
        assert 1 <= length <= T and (length == T or length % FEW == 0)


def test_data_count_wherever_they_are_closed_over():
    a, b = jnp.ones(30, jnp.float32), jnp.ones(7, jnp.float32)
    inner = jax.jit(lambda x: x * jnp.sum(a))
    traced = jax.make_jaxpr(lambda x: inner(x) + jnp.sum(b))(1.0)
    assert bytes_of_data(traced) == 4 * 37


def test_blocks_that_read_much_data_are_not_the_shortest():
    assert block_length(1_000, 10**12, CACHE_BYTES + 1) == MANY
    assert block_length(1_000, 10**12, CACHE_BYTES) == FEW


def test_blocks_of_an_accelerator_are_as_long_as_memory_allows(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert block_length(100_000, 2_000) == 100_000
    assert block_length(1_000, 2**20) == 256


def test_the_widest_operation_may_be_inside_of_others():
    def nested(x):
        def body(total, row):
            wide = jax.jit(lambda row: jnp.outer(row, jnp.arange(50.0)))(row)
            return total + wide.sum(), None

        return jax.lax.cond(x[0] > 0, lambda: jax.lax.scan(body, 0.0, x[:, None])[0], lambda: 0.0)

    assert widest(jax.make_jaxpr(nested)(jnp.ones(7, jnp.float32)).jaxpr) == 4 * 50


def test_of_the_second_part_the_last_step_is_kept(small_blocks):
    x, inputs = steps(31)

    def pair(x, u):
        every = with_key_and_loop(x, u)
        return every, {"state": every["y"], "twice": 2 * u["num_turns"]}

    every, last = jax.jit(lambda x, u: map_steps_keep_last(pair, x, u))(x, inputs)
    alone = jax.jit(lambda x, u: map_steps(with_key_and_loop, x, u))(x, inputs)
    jax.tree.map(np.testing.assert_array_equal, every, alone)
    np.testing.assert_array_equal(last["state"], every["y"][-1])
    assert last["twice"] == 2 * inputs["num_turns"][-1]


@pytest.mark.parametrize("solver", [pm.jacobi(), pm.picard(), pm.quasi_deer(), pm.quasi_elk()])
def test_a_chain_in_windows_takes_less_than_twice_its_draws_and_randomness(solver, small_blocks):
    T, D = 300_000, 25
    transition = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.2).at(jnp.zeros(D))
    state = transition.init(jnp.zeros(D), jax.random.key(0))
    inputs = jax.eval_shape(
        lambda: transition.draw_inputs(jax.random.split(jax.random.key(1), T), state)
    )

    @jax.jit
    def chain(state, inputs):
        return pm.run_parallel(
            transition, state, inputs, solver=solver, window=2_048,
            transform=lambda state, info: state.position,
        )  # fmt: skip

    memory = chain.lower(state, inputs).compile().memory_analysis()
    needed = memory.argument_size_in_bytes + memory.output_size_in_bytes
    assert needed + memory.temp_size_in_bytes < 2 * needed
