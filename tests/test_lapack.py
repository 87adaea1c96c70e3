"""LAPACK gets one matrix at a time wherever a batch of them could stop the process."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core import lapack
from parallel_mcmc._core.lapack import NUM_AXES, batch_of, one_matrix_at_a_time
from parallel_mcmc._core.time_blocks import inside

KEY = jax.random.key(0)
ROOT = jax.random.normal(KEY, (2, 3, 4, 4))
MATRICES = ROOT @ ROOT.mT + 4 * jnp.eye(4)
X = np.linspace(0, 1, 5)
DISTANCES = (X[:, None] - X) ** 2


@pytest.fixture(autouse=True)
def affected(monkeypatch):
    """As with a jaxlib that can stop, whichever is installed."""
    monkeypatch.setattr(lapack, "can_stop", lambda: True)


def logdensity(z):
    """Of a Gaussian process: a Cholesky factor and triangular solves, and their derivatives."""
    covariance = jnp.exp(z[0] - DISTANCES * jnp.exp(z[1])) + 0.1 * jnp.eye(5)
    process = dist.MultivariateNormal(jnp.zeros(5), covariance)
    return process.log_prob(jnp.ones(5)) - jnp.sum(z**2) / 2


def model():
    z = numpyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.factor("process", logdensity(z))


def num_batched(jaxpr):
    """Operations of LAPACK on batches in a program and in those that it calls."""
    ours = (equation for equation in jaxpr.eqns if equation.primitive.name in NUM_AXES)
    own = sum(batch_of(equation) != () for equation in ours)
    return own + sum(num_batched(getattr(sub, "jaxpr", sub)) for sub in inside(jaxpr))


OPERATIONS = {
    "cholesky": jnp.linalg.cholesky,
    "eigh": jnp.linalg.eigh,
    "eig": jnp.linalg.eig,
    "svd": jnp.linalg.svd,
    "qr": jnp.linalg.qr,
    "lu": jax.lax.linalg.lu,
    "inv": jnp.linalg.inv,
    "slogdet": jnp.linalg.slogdet,
    "triangular": lambda A: jax.scipy.linalg.solve_triangular(A, A, lower=True),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_loop_over_matrices_gives_the_same_numbers(name):
    f = OPERATIONS[name]
    assert num_batched(jax.make_jaxpr(f)(MATRICES).jaxpr) > 0
    for g in (one_matrix_at_a_time(f), jax.vmap(one_matrix_at_a_time(f))):
        assert num_batched(jax.make_jaxpr(g)(MATRICES).jaxpr) == 0
        for got, expected in zip(*map(jax.tree.leaves, (g(MATRICES), f(MATRICES))), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_tridiagonal_systems_are_solved_one_by_one():
    dl, d, du, b = jnp.ones((3, 4)), jnp.full((3, 4), 5.0), jnp.ones((3, 4)), jnp.ones((3, 4, 2))
    f = jax.lax.linalg.tridiagonal_solve
    g = one_matrix_at_a_time(f)
    assert num_batched(jax.make_jaxpr(f)(dl, d, du, b).jaxpr) == 1
    assert num_batched(jax.make_jaxpr(g)(dl, d, du, b).jaxpr) == 0
    np.testing.assert_array_equal(g(dl, d, du, b), f(dl, d, du, b))


def test_derivatives_from_outside_are_as_before():
    def f(A):
        return jnp.sum(jnp.linalg.cholesky(A) ** 3) + jnp.sum(jnp.linalg.slogdet(A)[1])

    g = one_matrix_at_a_time(f)
    np.testing.assert_allclose(jax.grad(g)(MATRICES), jax.grad(f)(MATRICES), rtol=1e-5)
    along = (MATRICES,), (MATRICES,)
    np.testing.assert_allclose(jax.jvp(g, *along), jax.jvp(f, *along), rtol=1e-5)


def test_a_program_without_matrices_is_left_as_it_is():
    f = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(x), x))
    programs = (jax.make_jaxpr(lambda g=g: g(1.0))() for g in (f, one_matrix_at_a_time(f)))
    assert len({str(program) for program in programs}) == 1


def sample(key, solver):
    kernel = pm.hmc(logdensity, 0.1, None, 2)
    return pm.sample(
        key, kernel, jnp.zeros((2, 2)), 12, num_chains=2, solver=solver, diagnose=True
    ).position


def solve(key, solver):
    f = lambda x, u: x + 0.01 * jax.grad(logdensity)(x) + u  # noqa: E731
    return pm.solve(f, jnp.zeros(2), jax.random.normal(key, (12, 2)), solver=solver).trajectory


def exponent(key, solver):
    f = lambda x, u: x + 0.01 * jax.grad(logdensity)(x) + u  # noqa: E731
    return pm.lyapunov_exponent(f, jnp.zeros(2), jnp.zeros((12, 2)), jnp.ones((12, 2))).value


def many_runs(key, solver):
    kernel = pm.mala(logdensity, 0.1).at(jnp.zeros(2))
    state = kernel.init(jnp.zeros(2))

    def run(key):
        inputs = kernel.draw_inputs(jax.random.split(key, 12), state)
        return pm.run_parallel(kernel, state, inputs, solver=solver)[0].position

    return jax.vmap(run)(jax.random.split(key, 2))


def numpyro_draws(key, solver):
    kernel = pm.ParallelHMC(model, solver=solver, max_num_steps=2, window=4)
    mcmc = pm.MCMC(
        kernel, num_warmup=3, num_samples=4, num_chains=2, chain_method="vectorized",
        progress_bar=False, jit_model_args=True,
    )  # fmt: skip
    mcmc.run(key)
    return mcmc.get_samples()["z"]


@pytest.mark.parametrize("run", [solve, sample, exponent, many_runs, numpyro_draws])
@pytest.mark.parametrize("solver", [pm.deer(), pm.sequential()], ids=lambda solver: solver.name)
@pytest.mark.slow
def test_no_run_hands_over_a_batch_of_matrices(run, solver):
    program = jax.make_jaxpr(lambda key: run(key, solver))(KEY)
    assert num_batched(program.jaxpr) == 0


@pytest.mark.slow
def test_numpyros_own_mcmc_hands_over_no_batch_of_matrices():
    kernel = pm.ParallelHMC(model, solver=pm.deer(), max_num_steps=2, window=4)
    keys = jax.random.split(KEY, 2)
    program = jax.make_jaxpr(lambda keys: kernel.sample(kernel.init(keys, 3), (), {}).z)(keys)
    assert num_batched(program.jaxpr) == 0


STOPS = """
import jax, jax.numpy as jnp, numpy as np
import numpyro.distributions as dist
import parallel_mcmc as pm

jax.config.update("jax_enable_x64", True)
x = np.linspace(0, 4, 100)
squares = (x[:, None] - x) ** 2

def logdensity(z):
    scale, length, noise = jnp.exp(z)
    covariance = scale**2 * jnp.exp(-squares / (2 * length**2)) + noise**2 * jnp.eye(100)
    return dist.MultivariateNormal(jnp.zeros(100), covariance).log_prob(jnp.sin(2 * x))

kernel = pm.hmc(logdensity, 0.02, None, 3)
for seed in range(10):
    pm.sample(jax.random.key(seed), kernel, jnp.zeros(3), 16, solver=pm.quasi_deer())
"""


@pytest.mark.slow
def test_a_gaussian_process_does_not_stop_the_process():
    # Without loops, with jaxlib 0.10.2 and two cores, six of six of these stopped.
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"XLA_FLAGS": "", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STOPS]
    subprocess.run(command, cwd=root, env=environment, timeout=300, check=True)
