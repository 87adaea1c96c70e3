"""Accept decisions that tie within rounding: they are counted, and the solved chain stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.windows import solve_vectors
from parallel_mcmc._mcmc import runs

pytestmark = pytest.mark.slow


def test_a_decision_that_the_last_pass_tips_is_counted_and_the_solved_chain_stands(monkeypatch):
    """Of a tie one program accepts and the other rejects; a chain of both is nobody's chain."""
    transition = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2)).at(jnp.full(2, 0.8))
    state = transition.init(jnp.zeros(2), jax.random.key(1))
    inputs = transition.draw_inputs(jax.random.split(jax.random.key(0), 60), state)
    reference = np.asarray(pm.run_sequential(transition, state, inputs)[1][0].position)
    accepted = np.any(reference[1:] != reference[:-1], axis=1)
    tied = 20 + int(np.argmax(accepted[19:]))

    def step(state, inputs):
        """The program of the last pass: it rejects."""
        u, t = inputs
        new, info = transition.step(state, u)
        return jax.tree.map(lambda a, b: jnp.where(t == tied, a, b), state, new), info

    def recursion(_):
        """The program of the solve: it accepts."""
        return lambda x, inputs: plain(x, inputs[0])

    plain = runs.recursion(transition)
    monkeypatch.setattr(runs, "recursion", recursion)
    _, (states, _), info = pm.run_parallel(
        transition._replace(step=step), state, (inputs, jnp.arange(60)), solver=pm.jacobi()
    )
    assert int(info.num_ties) == 1
    assert int(info.status) == pm.Status.CONVERGED
    np.testing.assert_allclose(states.position, reference, atol=1e-5)
    # Its caches are those of the state that stands.
    np.testing.assert_allclose(
        states.logdensity, -0.5 * np.sum(np.asarray(states.position) ** 2, -1), rtol=1e-5
    )


@pytest.fixture
def tied():
    """Chains that forget slowly, so that they tremble, each with a decision that nearly ties."""
    features = jax.random.normal(jax.random.key(2), (100, 5))
    features *= jnp.sign(jnp.sum(features, axis=1, keepdims=True))
    kernel = pm.mala(lambda x: jnp.sum(jax.nn.log_sigmoid(features @ x)), 0.02).at(jnp.zeros(5))
    state = kernel.init(jnp.ones(5), None)
    inputs = kernel.draw_inputs(jax.random.split(jax.random.key(3), 400), state)
    rate = pm.run_sequential(kernel, state, inputs)[1][1].acceptance_rate
    ties = np.flatnonzero((rate < 0.97) & (np.arange(400) > 250))[:12]
    assert len(ties) == 12
    log_uniforms = [inputs.log_uniform.at[t].set(jnp.log(rate[t])) for t in ties]
    return kernel, state, inputs, jnp.stack(log_uniforms)


def test_a_decision_of_a_kernel_that_rounding_tips_stands_and_is_told(tied):
    kernel, state, inputs, log_uniforms = tied

    @jax.jit
    @jax.vmap
    def run(log_uniform):
        given = inputs._replace(log_uniform=log_uniform)
        _, states, info = pm.run_parallel(
            kernel, state, given, solver=pm.deer(), transform=lambda state, _: state.w
        )
        before = jnp.concatenate([state.w[None], states[:-1]])
        again = jax.vmap(runs.recursion(kernel))(before, given)
        return info, jnp.max(jnp.abs(again - states) / jnp.std(states, axis=0), axis=1)

    info, off = run(log_uniforms)
    assert np.all(info.status == pm.Status.CONVERGED)
    assert np.all(info.num_iterations < 200) and np.all(info.num_sequential_steps == 0)
    assert np.sum(info.num_ties) >= 3 and np.max(info.num_ties) == 1
    # Whichever way it fell, the chain is one of the kernel: each step is f of the state before it.
    assert np.max(np.sum(off > 1e-5, axis=1)) <= 1


def test_no_more_decisions_may_tip_than_is_allowed_and_of_a_recursion_none(tied):
    kernel, state, inputs, log_uniforms = tied
    f, solver = runs.recursion(kernel), pm.deer(max_iterations=40)

    def given(log_uniform):
        return inputs._replace(log_uniform=log_uniform)

    @jax.jit
    @jax.vmap
    def by_solve(log_uniform):
        return pm.solve(f, state.w, given(log_uniform), solver=solver).info

    @jax.jit
    @jax.vmap
    def with_one(log_uniform):
        key = jax.random.key(0)
        return solve_vectors(f, state.w, given(log_uniform), solver, 400, key, most_ties=1)[1]

    told = by_solve(log_uniforms).status == pm.Status.FINISHED_SEQUENTIALLY
    assert np.any(told)
    allowed = with_one(log_uniforms[told])
    assert np.any((allowed.status == pm.Status.CONVERGED) & (allowed.num_ties == 1))
