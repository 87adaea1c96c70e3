"""A recursion of many kinds, a linear one, and what a solution is held against."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_table import SOLVERS

import parallel_mcmc as pm

PARALLEL = [name for name in SOLVERS if name != "sequential"]
WINDOWS = [None, 1, 7, 64, 2000]
quiet = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")

D = 3
MIX = np.array([[0.9, 0.4, -0.2], [-0.5, 0.8, 0.3], [0.1, -0.6, 1.1]], np.float32)
X0 = np.array([0.3, -1.0, 2.0])


def gated(x, u):
    """x_t = slope tanh(M x) + noise where the gate is open, else x_{t-1}: of many kinds."""
    proposal = u["slope"] * jnp.tanh(MIX.astype(x.dtype) @ x) + u["noise"]
    return jnp.where(u["gate"] < jnp.cos(jnp.sum(x)), proposal, x)


def inputs_of(kind, T, dtype=np.float32, seed=0):
    """Inputs that make `gated` contract, expand on the way, or jump between pieces."""
    rng = np.random.default_rng(seed)
    noise, gate, slope = rng.normal(size=(T, D)), np.full(T, -2.0), np.full(T, 0.4)
    if kind == "expanding":
        # Slopes of up to 1.5 * 1.4 near the origin, which the noise visits often.
        slope, noise = np.full(T, 1.5), 0.5 * noise
    elif kind == "piecewise":
        slope, gate = rng.uniform(-2, 2, size=T), rng.uniform(-1, 1, size=T)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype), {"slope": slope, "noise": noise, "gate": gate}
    )


ROTATION = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (10, 10)))[0]


def rounds_much(x, u):
    """Forgets, but for a stretch; and rounds by 1e-6, in another way for each last bit."""
    noise, expands = u
    shrunk = 0.7 * ROTATION @ x + 1e-6 * jnp.sin(1e7 * x) + noise
    return jnp.where(expands, 2 * ROTATION @ x, shrunk)


def inputs_of_rounding(num_steps, T=1_000):
    """Of `rounds_much`, which expands in so many steps in the middle."""
    noise, step = jax.random.normal(jax.random.key(0), (T, 10)), jnp.arange(T)
    return noise, (step >= T // 2) & (step < T // 2 + num_steps)


def x0_of(dtype=np.float32):
    return jnp.asarray(X0, dtype)


A = np.array([[0.8, 0.3, 0.0], [0.0, 0.7, 0.2], [0.1, 0.0, 0.5]])


def linear(x, u):
    return A.astype(x.dtype) @ x + u


def chain(f, x0, inputs):
    """x_1..x_T."""

    def step(x, u):
        x = f(x, u)
        return x, x

    return jax.lax.scan(step, x0, inputs)[1]


def spread(trajectory):
    """The standard deviation of a normal with these quartiles, per coordinate."""
    lower, upper = np.quantile(np.asarray(trajectory, float), [0.25, 0.75], axis=0)
    return (upper - lower) / 1.349


def default_tol(dtype):
    return {np.dtype("float32"): 1e-5, np.dtype("float64"): 1e-10}[np.dtype(dtype)]


def residuals(f, x0, inputs, trajectory):
    """|x_t - f(x_{t-1}, u_t)|, each step on its own."""
    previous = jnp.concatenate([x0[None], trajectory[:-1]])
    return np.abs(np.asarray(jax.vmap(f)(previous, inputs)) - np.asarray(trajectory))


def assert_same_chain(trajectory, expected):
    # A residual of tol per step; along these recursions perturbations grow less than 100-fold.
    atol = 100 * default_tol(expected.dtype) * max(1.0, np.abs(expected).max())
    assert trajectory.dtype == expected.dtype
    np.testing.assert_allclose(trajectory, expected, rtol=0, atol=atol)


def assert_ended(info, status, num_steps):
    """The report is consistent with itself."""
    assert int(info.status) == status
    if status == pm.Status.CONVERGED:
        assert int(info.num_sequential_steps) == 0
        assert int(info.frontier) == num_steps
    else:
        assert 0 < int(info.num_sequential_steps) <= num_steps
        assert 0 <= int(info.frontier) < num_steps
