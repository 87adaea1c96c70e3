"""Arguments that cannot be solved for are refused in a sentence."""

import jax.numpy as jnp
import numpy as np
import pytest
from recursions import D, gated, inputs_of, x0_of
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_without_a_step_is_an_error(window):
    with pytest.raises(ValueError, match=rf"window must be at least 1.*{window}"):
        pm.solve(gated, x0_of(), inputs_of("contracting", 37), window=window, solver=pm.deer())


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16])
def test_an_integer_or_half_precision_state_is_an_error(dtype):
    x0, inputs = jnp.zeros(2, dtype), jnp.ones((37, 2), dtype)
    with pytest.raises(TypeError, match=rf"float32 or float64.*{x0.dtype}"):
        pm.solve(lambda x, u: x + u, x0, inputs, solver=pm.deer())


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
