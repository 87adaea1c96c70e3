"""What a step asks of a device is found by tracing it, loops and functions within it included."""

import jax
import jax.numpy as jnp
import pytest

from parallel_mcmc._core.ability import Ability
from parallel_mcmc._core.profiles import FULL, Profile, profile

X, INPUTS = jnp.zeros(3), jnp.zeros((5, 3))


def test_each_operation_counts_with_the_bytes_that_it_writes():
    data = jnp.ones((100, 3))

    def f(x, u):
        residuals = jnp.tanh(data @ x)  # two operations of 100 numbers
        return jnp.sum(residuals).reshape(1)[0] + u  # one of one number, and one of three

    assert profile(f, X, INPUTS) == Profile(arrays=((4, 1), (12, 1), (400, 2)))


def test_the_body_of_a_loop_and_a_function_within_it_count_once():
    def f(x, u):
        return jax.lax.fori_loop(0, 7, lambda i, x: jax.jit(jnp.sin)(x), x) + u

    sizes = dict(profile(f, X, INPUTS).arrays)
    assert sizes[12] == 2  # the sine and the sum


def test_what_a_scatter_writes_is_its_result_and_not_the_number_that_it_adds():
    groups = jnp.arange(40) % 3

    def f(x, u):
        return jax.grad(lambda x: jnp.sum(jnp.sin(x[groups])))(x) + u

    assert dict(profile(f, X, INPUTS).arrays)[12] == 2  # the gradient and the sum


def test_where_steps_cannot_be_batched_nothing_is_weighed():
    def f(x, u):
        return jax.pure_callback(lambda x: x, x, x) + u

    assert profile(f, X, INPUTS) == Profile(Ability.STEPS, ())


@pytest.mark.parametrize(
    "arrays, num_states, num_products, slower",
    [
        ((), 10**9, 1, 1.0),  # nothing is known
        (((4, 1),), 1_000, 1, 1.0),  # launches are what takes time
        (((4, 1),), FULL, 1, 4.0),
        (((4, 1),), FULL / 10, 10, 4.0),
        (((4, 3), (40, 1)), FULL / 10, 1, (3 * 1 + 4) / 4),
    ],
)
def test_operations_take_longer_in_proportion_to_large_arrays(
    arrays, num_states, num_products, slower
):
    assert Profile(arrays=arrays).slowdown(num_states, num_products) == pytest.approx(slower)
