"""Log densities that are not JAX: the page about them runs, and is right about what works."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "other-log-densities.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
KEY, START, NUM_DRAWS = jax.random.key(0), np.zeros(5), 40


@pytest.fixture(scope="module", autouse=True)
def everywhere_in_double_precision():
    """In all threads: a callback runs in one that does not see `jax.enable_x64`."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="module")
def page():
    """The names of the page, without its run of 200 draws and its timing."""
    names = {}
    for block in (BLOCKS[0].split("\nkernel = ")[0], BLOCKS[1].split("\nfor ")[0], BLOCKS[2]):
        exec(compile(block, "other-log-densities.md", "exec"), names)
    return names


def hmc(logdensity_fn):
    return pm.hmc(logdensity_fn, 0.2, np.full(5, 0.06), 3)


def draw(kernel, solver):
    return pm.sample(KEY, kernel, START, NUM_DRAWS, solver=solver)


@pytest.fixture(scope="module")
def expected(page):
    """The draws from the same density in JAX."""
    return draw(hmc(page["in_jax"]), pm.sequential()).position


def test_the_gradient_comes_with_the_value(page):
    theta = np.linspace(-1.0, 1.0, 5)
    expected = jax.value_and_grad(page["in_jax"])(theta)
    found = jax.value_and_grad(page["on_the_host"](page["log_density_gradient"]))(theta)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    "method, function, solver",
    [
        ("sequential", "log_density_gradient", pm.jacobi()),
        ("expand_dims", "batched", pm.jacobi()),
        ("expand_dims", "batched", pm.sequential()),
        pytest.param("broadcast_all", "batched", pm.jacobi(), marks=pytest.mark.slow),
        pytest.param("legacy_vectorized", "batched", pm.jacobi(), marks=pytest.mark.slow),
        (None, "log_density_gradient", pm.sequential()),
    ],
)
def test_the_draws_are_those_of_the_same_density_in_jax(page, expected, method, function, solver):
    trace = draw(hmc(page["on_the_host"](page[function], method)), solver)
    assert trace.solve.status[0] == pm.Status.CONVERGED
    np.testing.assert_allclose(trace.position, expected, rtol=1e-8, atol=1e-8)


def test_a_random_walk_needs_no_gradient(page):
    def value(theta):
        kind = jax.ShapeDtypeStruct((), theta.dtype)
        call = lambda theta: page["log_density_gradient"](np.asarray(theta))[0]  # noqa: E731
        return jax.pure_callback(call, kind, theta, vmap_method="sequential")

    trace = draw(pm.random_walk(value, 0.2), pm.picard())
    wanted = draw(pm.random_walk(page["in_jax"], 0.2), pm.sequential())
    assert trace.solve.status[0] == pm.Status.CONVERGED
    np.testing.assert_allclose(trace.position, wanted.position, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", [pm.deer(), pm.quasi_deer(), pm.elk()], ids=repr)
def test_what_needs_a_derivative_is_refused_in_the_words_of_the_page(page, solver):
    quote = " ".join(re.findall(r"^> (.*)$", PAGE, re.MULTILINE))
    ours = re.sub(r"\(.*\)(?=;)", "", quote)  # in brackets stands what this version of JAX says
    with pytest.raises(TypeError) as refused:
        draw(hmc(page["on_the_host"](page["log_density_gradient"])), solver)
    assert re.sub(r"\(.*\)(?=;)", "", str(refused.value)) == ours


def test_with_products_of_the_hessian_newtons_method_works(page):
    kernel = pm.mala(page["with_hessian"](), 0.3, np.full(5, 0.06))
    trace = draw(kernel, pm.deer())
    wanted = draw(pm.mala(page["in_jax"], 0.3, np.full(5, 0.06)), pm.sequential())
    assert trace.solve.status[0] == pm.Status.CONVERGED
    assert trace.solve.num_iterations[0] < NUM_DRAWS // 2
    np.testing.assert_allclose(trace.position, wanted.position, rtol=1e-8, atol=1e-8)


def test_a_density_that_does_not_exist_somewhere_rejects(page):
    def within(theta):
        value, gradient = page["log_density_gradient"](theta)
        return (value, gradient) if theta[0] < 0.1 else (-np.inf, np.zeros(5))

    trace = draw(hmc(page["on_the_host"](within)), pm.sequential())
    assert jnp.max(trace.position[..., 0]) < 0.1
    assert not jnp.all(trace.sample_stats["accepted"])
