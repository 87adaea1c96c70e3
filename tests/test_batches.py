"""Steps that come out otherwise in a batch: found, and made step by step, or refused."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core import report
from parallel_mcmc._mcmc import runs
from parallel_mcmc._mcmc.transition import recursion


@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
def test_a_kernel_that_is_another_under_vmap_is_run_step_by_step():
    """The noise of an `rbg` key depends on batching, so that the last pass disagrees everywhere."""
    transition = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2), 0.8).at(jnp.zeros(2))
    state = transition.init(jnp.zeros(2), jax.random.key(1))
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(0), 300), state)
    plain = recursion(transition)

    def other(state, inputs):
        u, wrong = inputs
        new, info = transition.step(state, u)
        return jax.tree.map(lambda a, b: jnp.where(wrong, a, b), state, new), info

    def of_the_solve(_):
        return lambda x, inputs: plain(x, inputs[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "recursion", of_the_solve)
        disagrees = jnp.arange(300) % 3 == 0
        kernel = transition._replace(step=other)
        final, (states, _), info = pm.run_parallel(
            kernel, state, (inputs, disagrees), solver=pm.picard()
        )
    expected_final, (expected, _), _ = pm.run_sequential(kernel, state, (inputs, disagrees))
    assert int(info.status) == pm.Status.FINISHED_SEQUENTIALLY
    assert int(info.num_ties) > 30 and int(info.num_sequential_steps) == 300
    np.testing.assert_allclose(states.position, expected.position, rtol=1e-6)
    np.testing.assert_allclose(final.position, expected_final.position, rtol=1e-6)
    assert "came out otherwise" in report.describe_failure(info)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_that_draw_other_numbers_in_a_batch_are_refused(impl):
    """Wherever a step draws by them; what is drawn beforehand is the same for every solver."""
    key = jax.random.key(0, impl=impl)
    words = f"Keys of kind {impl} .*threefry2x32.*sequential"
    algorithm = blackjax.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 4)
    start = algorithm.init(jnp.zeros(2))

    def given(x, key):
        return 0.5 * x + jax.random.normal(key, (1,))

    def closed_over(x, t):
        return given(x, jax.random.fold_in(key, t))

    def run(solver):
        transition = pm.from_blackjax(algorithm).at(jnp.zeros(2))
        inputs = transition.draw_inputs(jax.random.split(key, 8), start)
        return pm.run_parallel(transition, start, inputs, solver=solver)

    refused = [
        lambda solver: pm.sample(key, algorithm, jnp.zeros(2), 8, solver=solver),
        lambda solver: pm.solve(given, jnp.zeros(1), jax.random.split(key, 8), solver=solver),
        lambda solver: pm.solve(closed_over, jnp.zeros(1), jnp.arange(8), solver=solver),
        lambda solver: pm.parallelize(algorithm, 8, solver=solver).step(key, start),
        run,
        lambda solver: numpyro_draws(key, solver),
    ]
    for call in refused:
        with pytest.raises(ValueError, match=words):
            call(pm.jacobi())
        call(pm.sequential())

    kernel = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2))
    position = [
        pm.sample(key, kernel, jnp.zeros(2), 50, solver=solver).position
        for solver in (pm.picard(), pm.sequential())
    ]
    np.testing.assert_allclose(*position, rtol=1e-5)


def numpyro_draws(key, solver):
    kernel = pm.ParallelRandomWalk(potential_fn=lambda x: 0.5 * jnp.sum(x**2), solver=solver)
    mcmc = pm.MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=False)
    mcmc.run(key, init_params=jnp.zeros(2))
    return mcmc.get_samples()


def test_numbers_that_look_like_raw_keys_are_let_through():
    words = jnp.zeros((8, 4), jnp.uint32)
    with jax.default_prng_impl("rbg"):
        pm.solve(lambda x, u: 0.5 * x + u[0], jnp.zeros(1), words, solver=pm.jacobi())
