"""Every solver and every BlackJAX kernel: the history is BlackJAX's own, draw by draw."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from solver_table import SOLVERS

import parallel_mcmc as pm
from benchmarks.blackjax_kernels import KERNELS, SCALE, TARGETS, make
from parallel_mcmc._mcmc import transition as transitions

NUM_STEPS = 48


def marks(i, kernel, target):
    """The i-th solver on one kernel: on one of the two targets, or on both in the thorough run."""
    is_even = (KERNELS.index(kernel) + list(TARGETS).index(target) + i) % 2 == 0
    if i > 1 and not is_even:
        return pytest.mark.thorough
    return () if kernel in ("rmh", "hmc") and i < 2 and is_even else pytest.mark.slow


# Two probes are the estimator of one; a penalty is another limit on the same corrections.
TABLE = ("deer", "jacobi", "quasi_deer", "exact_diagonal", "picard", "sequential")
CELLS = [
    pytest.param(kernel, target, solver, marks=marks(i, kernel, target))
    for kernel in KERNELS
    for target in TARGETS
    for i, solver in enumerate(TABLE)
]


def chain(run, kernel, target, dtype, num_steps=NUM_STEPS, **options):
    """Positions ``(T, D)`` in units of the posterior, and all of states and infos as one list."""
    position = jax.tree.map(lambda x: jnp.asarray(x, dtype), TARGETS[target].position)
    algorithm = make(kernel, target, position)
    _, (states, infos) = run(
        jax.random.key(7), algorithm, num_steps, initial_position=position, **options
    )
    x = jax.vmap(lambda p: ravel_pytree(p)[0])(states.position)
    leaves = [as_numbers(leaf) for leaf in jax.tree.leaves((states, infos))]
    return np.asarray(x) / SCALE[target], leaves


def as_numbers(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).astype(float)


@pytest.fixture(scope="module")
def blackjax_chains():
    """BlackJAX's own chains, each run once."""
    cache = {}

    def get(kernel, target, dtype):
        key = kernel, target, dtype
        if key not in cache:
            cache[key] = chain(blackjax.util.run_inference_algorithm, *key)
        return cache[key]

    return get


@pytest.mark.parametrize("kernel, target, solver", CELLS)
def test_every_solver_gives_the_history_of_blackjax(kernel, target, solver, blackjax_chains):
    with jax.enable_x64(True):
        x, leaves = blackjax_chains(kernel, target, "float64")
        assert len(np.unique(x[:, 0])) > 4  # the reference moves
        y, others = chain(
            pm.run_inference_algorithm, kernel, target, "float64", solver=SOLVERS[solver]
        )
    # 1e-6 of the spread: the tolerance of 1e-10, amplified by a memory of up to 1e4 steps.
    np.testing.assert_allclose(y, x, rtol=0, atol=1e-6)
    for leaf, other in zip(leaves, others, strict=True):
        size = np.nanmax(np.abs(leaf), initial=1.0, where=np.isfinite(leaf))
        np.testing.assert_allclose(other, leaf, rtol=0, atol=1e-6 * size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel, target",
    [
        pytest.param(kernel, target, marks=[pytest.mark.thorough] * ((i + j) % 2))
        for i, kernel in enumerate(KERNELS)
        for j, target in enumerate(TARGETS)
    ],
)
def test_float32_differs_by_rounding_or_says_where_a_decision_tied(kernel, target, blackjax_chains):
    # The solvers take turns, so that each meets every kind of kernel in single precision too.
    turn = KERNELS.index(kernel) + list(TARGETS).index(target)
    solver = list(SOLVERS.values())[turn % len(SOLVERS)]
    x, leaves = blackjax_chains(kernel, target, "float32")
    y, others = chain(pm.run_inference_algorithm, kernel, target, "float32", solver=solver)
    apart = np.flatnonzero(np.abs(y - x).max(axis=-1) > 1e-3)
    if apart.size:
        # The chains may part at one decision only: there float64 must show that it tied, which
        # is that a change of the state in the last bits tips it.
        assert decision_ties(kernel, target, x, apart[0]), f"differs from step {apart[0]} on"
    same = slice(apart[0] if apart.size else None)
    for leaf, other in zip(leaves, others, strict=True):
        size = np.nanmax(np.abs(leaf), initial=1.0, where=np.isfinite(leaf))
        np.testing.assert_allclose(other[same], leaf[same], rtol=0, atol=1e-3 * size)


def decision_ties(kernel, target, x, t):
    """Whether step t, from states within 8 ulp of the reference's, has more than one outcome."""
    position = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float32"), TARGETS[target].position)
    algorithm = make(kernel, target, position)
    transition = pm.from_blackjax(algorithm).at(position)
    rng_key, init_key = jax.random.split(jax.random.key(7))
    state = transition.init(position, init_key)
    inputs = transition.draw_inputs(jax.random.split(rng_key, NUM_STEPS), state)
    states = pm.run_sequential(transition, state, inputs)[1][0]
    before = (
        transition.ravel(jax.tree.map(lambda leaf: leaf[t - 1], states))
        if t
        else transition.ravel(state)
    )
    noise = np.random.default_rng(0).integers(-8, 9, (256, before.size))
    nearby = before * (1 + noise * np.finfo("float32").eps).astype("float32")
    u = jax.tree.map(lambda leaf: leaf[t], inputs)
    f = transitions.recursion(transition)
    outcomes = np.asarray(jax.vmap(lambda x: f(x, u))(nearby))
    return bool(np.any(np.ptp(outcomes, axis=0) > 1e-3 * np.abs(SCALE[target]).min()))
