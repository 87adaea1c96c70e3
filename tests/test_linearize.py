"""A linearisation returns the values of f, and the part of its Jacobian that it promises."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_table import SOLVERS

import parallel_mcmc as pm
from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.linear_maps import Dense, Diagonal, Identity, Zero

T, D = 5, 3


def smooth(x, u):
    return jnp.tanh(jnp.roll(x, 1) * x) + jnp.sin(u["shift"]) * x


def with_while_loop(x, u):
    """A loop whose length depends on the state: reverse mode would not do."""

    def outside(carry):
        y, n = carry
        return (jnp.sum(y**2) > 0.5) & (n < 50)

    y, _ = jax.lax.while_loop(outside, lambda c: (0.7 * jnp.sin(c[0] @ MIX), c[1] + 1), (x, 0))
    return y + u["shift"]


def with_cond(x, u):
    """The derivative is that of the branch taken."""
    return jax.lax.cond(
        x[0] + u["shift"][0] > 0, lambda x: MIX @ x**2, lambda x: jnp.sin(x) + x[::-1], x
    )


def with_random_key(x, u):
    return x * jnp.exp(0.1 * jax.random.normal(u["key"], (D,))) + jnp.cumsum(x)


def with_diagonal_jacobian(x, u):
    return jnp.sin(x) * u["shift"] + x**3


MIX = np.array([[0.9, 0.4, -0.2], [-0.5, 0.8, 0.3], [0.1, -0.6, 1.1]], np.float32)
RECURSIONS = [smooth, with_while_loop, with_cond, with_random_key, with_diagonal_jacobian]
LINEARIZATIONS = {
    "dense": lin.dense,
    "exact_diagonal": lin.exact_diagonal(),
    "hutchinson": lin.hutchinson(),
    "hutchinson3": lin.hutchinson(num_probes=3),
    "identity": lin.identity,
    "zero": lin.zero,
}


@pytest.fixture
def problem():
    """States and inputs of T steps."""
    x_prev = jax.random.normal(jax.random.key(0), (T, D))
    shift = jax.random.normal(jax.random.key(1), (T, D))
    return x_prev, {"shift": shift, "key": jax.random.split(jax.random.key(2), T)}


@functools.cache
def jacobian_fn(f):
    return jax.jit(lambda x, u: (f(x, u), jax.jacfwd(f)(x, u)))


def reference(f, x_prev, inputs):
    """Values and full Jacobians, step by step."""
    steps = [jax.tree.map(lambda leaf, t=t: leaf[t], (x_prev, inputs)) for t in range(len(x_prev))]
    values, jacobians = zip(*[jacobian_fn(f)(x, u) for x, u in steps], strict=True)
    return np.stack(values), np.stack(jacobians)


def rounding(expected):
    # A few float32 operations on numbers of this size, in another order.
    return 1e-5 * max(1.0, np.abs(expected).max())


def run(linearize, f, x_prev, inputs):
    return jax.jit(lambda x, u, key: linearize(f, x, u, key))(x_prev, inputs, jax.random.key(3))


@pytest.mark.parametrize("f", RECURSIONS)
@pytest.mark.parametrize("name", LINEARIZATIONS)
def test_values_and_maps_are_those_of_f(name, f, problem):
    values, A = run(LINEARIZATIONS[name], f, *problem)
    expected, jacobian = reference(f, *problem)
    np.testing.assert_allclose(values, expected, atol=rounding(expected))

    diagonal = np.diagonal(jacobian, axis1=1, axis2=2)
    if name == "dense":
        assert isinstance(A, Dense)
        np.testing.assert_allclose(A.matrix, jacobian, atol=rounding(jacobian))
    elif name == "exact_diagonal":
        assert isinstance(A, Diagonal)
        np.testing.assert_allclose(A.diagonal, diagonal, atol=rounding(jacobian))
    elif name.startswith("hutchinson"):
        # Each probe adds the other entries of its row with a sign.
        assert isinstance(A, Diagonal)
        others = np.sum(np.abs(jacobian), axis=-1) - np.abs(diagonal)
        assert np.all(np.abs(A.diagonal - diagonal) <= others + rounding(jacobian))
        if f is with_diagonal_jacobian:
            np.testing.assert_allclose(A.diagonal, diagonal, atol=rounding(jacobian))
    else:
        assert isinstance(A, {"identity": Identity, "zero": Zero}[name])


@pytest.mark.parametrize("f", [smooth, with_while_loop])
def test_hutchinson_is_unbiased(f, problem):
    K = 4000
    _, A = run(lin.hutchinson(num_probes=K), f, *problem)
    _, jacobian = reference(f, *problem)
    diagonal = np.diagonal(jacobian, axis1=1, axis2=2)
    # One probe has the variance sum_{j != i} J_ij^2; 15 entries stay within 4 standard errors.
    standard_error = np.sqrt((np.sum(jacobian**2, axis=-1) - diagonal**2) / K)
    assert np.all(np.abs(A.diagonal - diagonal) <= 4 * standard_error + rounding(jacobian))
    assert np.any(np.abs(A.diagonal - diagonal) > 0.1 * standard_error)


def test_hutchinson_has_the_variance_of_sign_probes():
    # The same state at 4,000 steps, each with a probe of its own.
    x_prev = jnp.broadcast_to(jnp.array([0.3, -0.8, 1.2]), (4000, D))
    _, A = run(lin.hutchinson(), lambda x, u: MIX @ x, x_prev, jnp.zeros(4000))
    expected = np.sum(MIX**2, axis=-1) - np.diagonal(MIX) ** 2
    # Sums of two signed numbers: a sample variance of 4,000 is within 10% (4 standard errors).
    np.testing.assert_allclose(np.var(A.diagonal, axis=0), expected, rtol=0.1)


def test_probes_belong_to_the_key(problem):
    x_prev, inputs = problem
    linearize = jax.jit(lambda key: lin.hutchinson()(smooth, x_prev, inputs, key)[1].diagonal)
    first, again, other = (linearize(jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize(("linearize", "kind"), [(lin.identity, Identity), (lin.zero, Zero)])
def test_identity_and_zero_use_no_derivative(linearize, kind):
    # A callback has no derivative: taking one would raise.
    def f(x, u):
        return jax.pure_callback(lambda x: np.asarray(x) + 1, x, x, vmap_method="sequential") + u

    values, A = linearize(f, jnp.zeros((T, D)), jnp.ones((T, D)), jax.random.key(0))
    np.testing.assert_array_equal(values, 2 * np.ones((T, D)))
    assert isinstance(A, kind)


@pytest.mark.parametrize("num_probes", [0, -1])
def test_hutchinson_without_a_probe_is_an_error_with_a_next_step(num_probes):
    with pytest.raises(ValueError, match=rf"at least 1, got {num_probes}.*pm\.jacobi\(\)"):
        lin.hutchinson(num_probes)


def test_a_linearization_equals_another_of_the_same_options():
    # A solve is compiled per linearisation: one that differs at each call would compile anew.
    assert lin.exact_diagonal() == lin.exact_diagonal()
    assert hash(lin.hutchinson(2)) == hash(lin.hutchinson(num_probes=2))
    assert lin.hutchinson(num_probes=2) == lin.hutchinson(2) != lin.hutchinson(3)


@pytest.mark.parametrize("name", ["dense", "exact_diagonal", "hutchinson"])
def test_linearizations_keep_double_precision(name, x64, problem):
    def f(x, u):
        return jnp.tanh(MIX.astype(np.float64) @ x) + u

    x = jax.random.normal(jax.random.key(0), (T, D), jnp.float64)
    values, A = run(LINEARIZATIONS[name], f, x, jnp.ones((T, D)))
    expected, jacobian = reference(f, x, jnp.ones((T, D)))
    np.testing.assert_allclose(values, expected, rtol=1e-13)
    assert A[0].dtype == np.float64
    if name != "hutchinson":
        exact = jacobian if name == "dense" else np.diagonal(jacobian, axis1=1, axis2=2)
        np.testing.assert_allclose(A[0], exact, rtol=1e-12)


@pytest.mark.parametrize("solver", [*SOLVERS.values(), pm.block_quasi_deer()])
def test_a_solver_is_pickled_with_its_linearisation(solver):
    copy = pickle.loads(pickle.dumps(solver))
    assert copy.name == solver.name and repr(copy.correct) == repr(solver.correct)
    if solver.linearize is not None:
        arguments = lambda x, u: x * u, jnp.ones((T, 4)), jnp.arange(T), jax.random.key(0)
        jax.tree.map(
            np.testing.assert_array_equal,
            *(each.linearize(*arguments) for each in (copy, solver)),
        )
