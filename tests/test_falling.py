"""When states are near enough to stand, by how far they move."""

import jax.numpy as jnp
import pytest

from parallel_mcmc._core.constants import FEW, NOISE, PROPORTION, WAIT
from parallel_mcmc._core.falling import another, come_down, no_snapshot, slowness_of, typical

N = 100  # iterations until it is asked the first time


def stands(*moves, left=1.0, waits=1.0, is_guessed=False):
    """Whether states stand that were asked about after N iterations and then after each wait."""
    states, n, answer = jnp.zeros((4, 1)), jnp.asarray(N), None
    last = no_snapshot(states)
    for moved in (jnp.inf, *moves):
        slowness = None if is_guessed else slowness_of(n, "float32")
        given = last, jnp.asarray(left), jnp.asarray(moved, float), n, slowness
        answer = bool(come_down(*given))
        last = another(last, states, jnp.asarray(moved, float), n, slowness)
        n = n + jnp.ceil(waits * (last.ask_from - n)).astype(int)
    return answer


def test_residuals_alone_suffice_where_they_fell_fast():
    assert stands(left=FEW / NOISE / 8)
    assert not stands(left=FEW / NOISE / 4)
    assert not stands(left=FEW / NOISE / 8, is_guessed=True)


def test_states_that_have_moved_little_stand_once_a_wait_is_over():
    assert stands(0.2)
    assert not stands(0.3)
    assert not stands(0.2, waits=0.5)


def test_what_moves_on_as_before_trembles():
    assert stands(1.0, 0.95)
    assert not stands(1.0, 0.85), "it falls"
    assert not stands(1.0, 0.95, waits=2), "in a longer wait"


@pytest.mark.parametrize("far", [2 * PROPORTION, jnp.inf, jnp.nan])
def test_a_flip_is_no_trembling(far):
    assert not stands(1.0, far)
    assert not stands(far, far)
    assert not stands(far)


def test_from_a_guess_what_moves_on_at_its_pace_goes_twice_as_far_each_time():
    assert stands(0.1, 0.1, is_guessed=True)
    assert not stands(0.1, is_guessed=True), "one wait says nothing"
    assert not stands(0.1, 0.2, is_guessed=True)
    assert not stands(1.0, 1.0, is_guessed=True), "nor what moves far"


def test_a_wait_is_as_long_as_an_error_takes_to_fall_by_a_factor_of_e():
    snapshot = no_snapshot(jnp.zeros((1, 1)))
    n, moved = jnp.asarray(280), jnp.asarray(1.0)
    assert another(snapshot, snapshot.states, moved, n, slowness_of(n, "float32")).ask_from == 301
    few = jnp.asarray(2)
    found = another(snapshot, snapshot.states, moved, few, slowness_of(few, "float32"))
    assert found.ask_from == 2 + WAIT


def test_of_a_window_that_slides_the_largest_counts():
    size, wanted = jnp.array([0.0, 3.0, 4.0, 9.0]), jnp.array([True, True, True, False])
    assert typical(size, wanted, slides=True) == 4
    assert typical(size, wanted, slides=False) == pytest.approx((25 / 3) ** 0.5)
