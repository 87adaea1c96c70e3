"""The kernels: solved they are their sequential chain, metrics and positions are as they say."""

import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from kernel_table import (
    GIBBS_BLOCKS,
    GIBBS_START,
    KERNELS,
    METRICS,
    NUM_STEPS,
    START,
    assert_same,
    gaussian,
    run,
)
from solver_table import SOLVERS

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


@functools.cache
def prepared(kernel):
    """A transition, where it starts, its randomness, and its chain step by step."""
    if kernel == "gibbs":
        transition, start = pm.gibbs(GIBBS_BLOCKS).at(GIBBS_START), GIBBS_START
    else:
        transition, start = KERNELS[kernel](), START
    state = transition.init(jax.tree.map(jnp.asarray, start), None)
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(3), NUM_STEPS), state)
    return transition, state, inputs, pm.run_sequential(transition, state, inputs)[:2]


OTHERS = [name for name in SOLVERS if name not in ("deer", "jacobi", "sequential")]
SOLVED = [*(name for name in KERNELS if name != "random_walk-scaled"), "gibbs"]


# The same chain -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel, solver",
    [
        # The other solvers in the slow run: with every second kernel, or with all if thorough.
        # Jacobi's method does not see metrics, which one kernel of each kind has.
        pytest.param(
            kernel,
            solver,
            marks=[pytest.mark.thorough if (i + j) % 2 else pytest.mark.slow] * (j > 1)
            + [pytest.mark.slow] * (j == 1 and kernel.endswith(("-identity", "-diagonal"))),
        )
        for i, kernel in enumerate(SOLVED)
        for j, solver in enumerate(["deer", "jacobi", *OTHERS])
    ],
)
def test_every_solver_gives_the_sequential_states_and_infos(kernel, solver):
    transition, state, inputs, (expected_final, expected) = prepared(kernel)
    final, history, info = run(transition, state, inputs, SOLVERS[solver])
    assert len(np.unique(jax.tree.leaves(expected[0].position)[0])) > NUM_STEPS // 4  # it moves
    assert info.status in (pm.Status.CONVERGED, pm.Status.FINISHED_SEQUENTIALLY)
    # A residual of 1e-10 of the spread at each step, amplified by some 10 steps of memory.
    assert_same(history, expected, 1e-8)
    assert_same(final, expected_final, 1e-8)
    assert_same(final, jax.tree.map(lambda leaf: leaf[-1], history[0]), 0)
    if solver == "deer":  # Newton's method gains on the number of steps
        assert info.status == pm.Status.CONVERGED
        assert 0 < info.num_iterations < NUM_STEPS // 2


@pytest.mark.parametrize("kernel", ["random_walk", "mala-dense", "hmc-dense", "gibbs"])
def test_a_state_is_rebuilt_from_its_vector(kernel):
    transition, _, _, (_, (states, _)) = prepared(kernel)
    rebuilt = jax.vmap(lambda state: transition.unravel(transition.ravel(state)))(states)
    assert_same(rebuilt, states, 1e-12)  # rounding of the change of coordinates


@pytest.mark.parametrize("metric", METRICS)
def test_hmc_proposes_where_the_integrator_of_blackjax_ends(metric):
    # With a threshold that accepts always, and the same momentum in both coordinates.
    inverse_mass_matrix, step_size, num_steps = METRICS[metric], 0.3, 5
    transition = pm.hmc(gaussian, step_size, inverse_mass_matrix, num_steps).at(START)
    state = transition.init(jax.tree.map(jnp.asarray, START), None)
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(0), 1), state)
    w = inputs.momentum[0]
    inputs = inputs._replace(log_uniform=jnp.full(1, -jnp.inf))
    _, (states, infos), _ = pm.run_sequential(transition, state, inputs)

    C = np.eye(3) if metric == "identity" else inverse_mass_matrix
    L = np.linalg.cholesky(np.diag(C) if np.ndim(C) == 1 else C)
    C = jnp.asarray(np.ones(3) if metric == "identity" else C)
    kinetic_energy = blackjax.mcmc.metrics.default_metric(C).kinetic_energy
    one_step = blackjax.mcmc.integrators.velocity_verlet(gaussian, kinetic_energy)
    momentum = ravel_pytree(START)[1](jnp.linalg.solve(L.T, w))
    end = blackjax.mcmc.integrators.new_integrator_state(gaussian, state.position, momentum)
    for _ in range(num_steps):
        end = one_step(end, step_size)

    # Rounding of five leapfrog steps.
    assert_same(jax.tree.map(lambda leaf: leaf[0], states.position), end.position, 1e-12)
    energy = -end.logdensity + kinetic_energy(end.momentum)
    np.testing.assert_allclose(infos.energy[0], energy, rtol=1e-12)


def test_jitter_stretches_step_sizes_alone():
    kernel = functools.partial(pm.hmc, gaussian, 0.2, None, 4)
    plain, jittered = kernel().at(START), kernel(step_size_jitter=0.3).at(START)
    state, keys = plain.init(START, None), jax.random.split(jax.random.key(0), 1_000)
    inputs = jittered.draw_inputs(keys, state)
    assert_same(inputs._replace(stretch=None), plain.draw_inputs(keys, state), 0)
    assert 0.7 <= inputs.stretch.min() < 0.71 and 1.29 < inputs.stretch.max() < 1.3
    infos = jax.vmap(lambda inputs: jittered.step(state, inputs)[1])(inputs)
    np.testing.assert_allclose(infos.step_size, 0.2 * inputs.stretch, rtol=1e-12)


@pytest.mark.parametrize("jitter, least, most", [(0.0, 990, 1_000), (0.3, 100, 300)])
@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
def test_jitter_forgets_a_direction_half_as_wide_as_the_metric_says(jitter, least, most):
    # Half a period brings it back to minus itself. With jitter a step forgets 0.16 nats of it.
    def logdensity_fn(x):
        return -(x[0] ** 2 + (2 * x[1]) ** 2) / 2

    kernel = pm.hmc(logdensity_fn, np.pi / 32, None, 16, step_size_jitter=jitter)
    trace = pm.sample(
        jax.random.key(0), kernel, jnp.ones(2), 1_000, solver=pm.jacobi(max_iterations=999)
    )
    assert least < int(trace.solve.num_iterations[0]) < most


# Metrics --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    [pm.sequential(), pytest.param(pm.deer(), marks=pytest.mark.thorough)],
    ids=["sequential", "deer"],
)
@pytest.mark.parametrize("metric", ["diagonal", "dense"])
@pytest.mark.parametrize("kernel", ["mala", "hmc"])
def test_a_metric_is_the_plain_kernel_in_whitened_coordinates(kernel, metric, solver):
    C = METRICS[metric]
    L = np.linalg.cholesky(np.diag(C) if C.ndim == 1 else C)
    x0, unravel = ravel_pytree(START)
    w0 = jnp.linalg.solve(L, x0)
    make = functools.partial(getattr(pm, kernel), step_size=0.3)
    scaled = make(gaussian, inverse_mass_matrix=C).at(START)
    plain = make(lambda w: gaussian(unravel(L @ w))).at(w0)

    inputs = plain.draw_inputs(jax.random.split(jax.random.key(1), NUM_STEPS), plain.init(w0))
    _, (states, infos), _ = run(scaled, scaled.init(unravel(x0)), inputs, solver)
    _, (expected, expected_infos), _ = run(plain, plain.init(w0), inputs, solver)
    x = jax.vmap(lambda position: ravel_pytree(position)[0])(states.position)
    # Rounding, or for a solve its tolerance, with some 10 steps of memory.
    np.testing.assert_allclose(x, expected.position @ L.T, rtol=0, atol=1e-8)
    np.testing.assert_allclose(states.logdensity, expected.logdensity, rtol=0, atol=1e-8)
    assert_same(infos, expected_infos, 1e-8)


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 2), (1, 3), (3, 3, 1)], ids=str)
@pytest.mark.parametrize("kernel", [pm.mala, pm.hmc], ids=lambda kernel: kernel.__name__)
def test_a_metric_of_the_wrong_shape_is_refused(kernel, shape):
    with pytest.raises(ValueError) as error:
        kernel(gaussian, 0.1, np.ones(shape)).at(START)
    assert "must have shape (3,) or (3, 3)" in str(error.value)
    assert str(error.value).endswith(f"got {shape}.")


# Gibbs ----------------------------------------------------------------------------------


def test_a_gibbs_update_of_an_unknown_name_is_refused():
    blocks = [pm.GibbsBlock(lambda key: jax.random.normal(key), lambda x, z: {"nu": z})]
    transition = pm.gibbs(blocks)
    with pytest.raises(ValueError, match=r"set \['nu'\].*variables are \['mu', 'variance'\]"):
        pm.sample(jax.random.key(0), transition, GIBBS_START, 10, solver=pm.deer())


def test_a_gibbs_block_sees_what_those_before_it_have_set():
    blocks = [
        pm.GibbsBlock(lambda key: jax.random.normal(key), lambda x, z: {"mu": z}),
        pm.GibbsBlock(lambda key: jnp.zeros(()), lambda x, _: {"variance": 2 * x["mu"]}),
    ]
    trace = pm.sample(jax.random.key(0), pm.gibbs(blocks), GIBBS_START, 20, solver=pm.deer())
    np.testing.assert_array_equal(trace.position["variance"], 2 * trace.position["mu"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: pm.hmc(gaussian, START, 0.2), r"one number, got shapes \[\(\), \(2,\)\]"),
        (lambda: pm.mala(gaussian, jnp.zeros(2), 0.2), "a position is given to pm.sample alone"),
        (lambda: pm.mala(gaussian, -0.2), "step_size must be positive, got -0.2"),
        (
            lambda: pm.hmc(gaussian, 0.2, step_size_jitter=1.0),
            "step_size_jitter must be a known number, at least 0 and below 1, got 1.0; try 0.3",
        ),
        (lambda: pm.hmc(gaussian, 0.2, step_size_jitter=None), "known number, .* got None"),
        (
            lambda: jax.jit(lambda j: pm.hmc(gaussian, 0.2, step_size_jitter=j).at(START))(0.3),
            "step_size_jitter must be a known number",
        ),
        (lambda: pm.random_walk(gaussian, jnp.zeros(2)), "sigma must be positive"),
        (lambda: pm.random_walk(gaussian, START), "sigma must be a number or an array, got a dict"),
    ],
)
def test_a_position_in_place_of_a_step_size_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_kernel_serves_positions_of_any_structure():
    kernel = pm.mala(lambda x: -sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x)) / 2, 0.5)
    for position in (jnp.zeros(3), {"a": jnp.zeros(()), "b": jnp.zeros((2, 2))}):
        trace = pm.sample(jax.random.key(0), kernel, position, 20, solver=pm.deer())
        assert jax.tree.map(lambda x: x.shape[2:], trace.position) == jax.tree.map(
            jnp.shape, position
        )
        assert kernel.at(position) is kernel.at(position)


@pytest.mark.parametrize(
    "metric", [np.diag([1.0, 4.0]), np.array([1, 4], "float32"), jnp.full(2, 4.0) ** np.arange(2)]
)
def test_a_kernel_that_was_first_used_inside_jit_can_be_used_outside(metric):
    kernel, start = pm.hmc(lambda x: -jnp.sum(x**2), 0.2, metric, 3), jnp.ones(2)
    inside = jax.jit(lambda x: kernel.at(x).init(x).w)(start)
    np.testing.assert_allclose(inside, [1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(kernel.at(start).init(start).w, inside, rtol=1e-6)


def test_a_kernel_says_where_its_functions_are():
    with pytest.raises(
        AttributeError, match=r"<mala kernel> has no `step` .*kernel.at\(position\)"
    ):
        pm.mala(gaussian, 0.1).step  # noqa: B018
    assert not hasattr(pm.mala(gaussian, 0.1), "position")
