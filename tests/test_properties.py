"""For any recursion: what a solver returns obeys it, step by step, or the report says why not.

Smooth and piecewise maps, contracting and expanding, on any scale, with and without values that
are not finite. All is hypothesis's choice but shapes, each a program to compile, of which there
are few outside the thorough run.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
SHAPES = [(1, 1, None), (40, 3, 2), (5, 257, 64), (2, 3000, 500), (7, 130, None)]  # D, T, window


def gated(x, u):
    """A map with slopes up to ``slope``, in units of ``unit``, and a gate that keeps x as it is."""
    w = x / u["unit"]
    mixed = (w + jnp.roll(w, 1)) / 2  # of norm 1
    proposal = u["slope"] * jnp.tanh(mixed) + u["noise"]
    accepts = u["gate"] < jnp.cos(jnp.sum(w))
    return u["unit"] * jnp.where(accepts, proposal, w) + u["poison"]


recursions = st.fixed_dictionaries({
    "shape": st.sampled_from(SHAPES),
    "slope": st.floats(0, 3),
    "is_piecewise": st.booleans(),
    "log_unit": st.floats(-4, 4),
    "poisoned": st.none() | st.floats(0, 1, exclude_max=True),
    "seed": st.integers(0, 2**31),
})  # fmt: skip


def build(shape, slope, is_piecewise, log_unit, poisoned, seed):
    """x_0 and the inputs, in float64."""
    D, T, _ = shape
    rng = np.random.default_rng(seed)
    poison = np.zeros(T)
    if poisoned is not None:
        poison[int(poisoned * T)] = rng.choice([np.nan, np.inf])
    inputs = {
        "unit": np.full(T, 10.0**log_unit),
        "slope": np.full(T, slope),
        "noise": rng.normal(size=(T, D)),
        # Below -1 the gate is open.
        "gate": rng.uniform(-1, 1, T) if is_piecewise else np.full(T, -2.0),
        "poison": poison,
    }
    return jnp.asarray(10.0**log_unit * rng.normal(size=D)), jax.tree.map(jnp.asarray, inputs)


MORE = "exact_diagonal", "two_probes", "picard", "elk", "quasi_elk", "jacobi_then_deer"
"""Solvers that differ from another by one part, or are made of two: these have their own tests."""

CONTRACTING = {"slope": 0.5, "is_piecewise": False, "log_unit": 2.0, "seed": 0}
EXPANDING = {"slope": 3.0, "is_piecewise": True, "log_unit": -2.0, "seed": 1}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.thorough] * (name in MORE)) for name in SOLVERS],
)
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(recursion=recursions)
@example(recursion=CONTRACTING | {"shape": SHAPES[1], "poisoned": None})
@example(recursion=CONTRACTING | {"shape": SHAPES[2], "poisoned": None})
@example(recursion=CONTRACTING | {"shape": SHAPES[3], "poisoned": None})
@example(recursion=CONTRACTING | {"shape": SHAPES[4], "poisoned": None})
@example(recursion=EXPANDING | {"shape": SHAPES[3], "poisoned": None})
@example(recursion=EXPANDING | {"shape": SHAPES[2], "poisoned": 0.5})
def test_every_step_of_what_is_returned_obeys_the_recursion(name, recursion, sequential_chain):
    check(name, recursion, sequential_chain)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 3000)).flatmap(
    lambda shape: st.tuples(*map(st.just, shape), st.none() | st.integers(1, shape[1] + 3))
)


@pytest.mark.thorough
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(recursion=recursions, shape=shapes, name=st.sampled_from([n for n in SOLVERS if n != "elk"]))
@example(recursion=CONTRACTING | {"poisoned": None}, shape=(3, 20, 1), name="deer")
@example(recursion=EXPANDING | {"poisoned": None}, shape=(3, 20, 21), name="elk")
def test_so_it_does_for_any_length_and_window(name, recursion, shape, sequential_chain):
    check(name, recursion | {"shape": shape}, sequential_chain)


def check(name, recursion, sequential_chain):
    with jax.enable_x64(True):
        x0, inputs = build(**recursion)
        window = recursion["shape"][2]
        solver = replace(SOLVERS[name], max_iterations=50)
        x, info = pm.solve(gated, x0, inputs, solver=solver, window=window)[:2]
        x = np.asarray(x)
        expected = np.asarray(jax.vmap(gated)(jnp.concatenate([x0[None], x[:-1]]), inputs))
        chain = sequential_chain(gated, x0, inputs)
    finite = np.isfinite(expected).all(axis=1)
    assert (int(info.status) == pm.Status.NON_FINITE) == (not finite.all())
    np.testing.assert_array_equal(np.isfinite(x).all(axis=1), finite)
    # Twice the tolerance, in units of the chain: what windows of unlike spread may differ by.
    unit = np.float64(10.0 ** recursion["log_unit"])
    spread = np.maximum(x[finite].std(axis=0) if finite.any() else 0, unit)
    assert np.all(np.abs(x[finite] - expected[finite]) <= 4e-10 * spread)
    steps = int(info.num_sequential_steps)
    if info.status == pm.Status.CONVERGED and name != "sequential":
        assert steps == 0
    if info.status == pm.Status.FINISHED_SEQUENTIALLY:
        assert steps > 0 and int(info.frontier) < len(x)
    if recursion["slope"] <= 0.75 and not recursion["is_piecewise"] and finite.all():
        # Slopes of at most 3/4 add up a residual of 1e-10 to four times as much.
        np.testing.assert_allclose(x, chain, rtol=0, atol=1e-8 * unit)
