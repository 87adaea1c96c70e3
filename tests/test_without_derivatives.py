"""Models that JAX cannot differentiate in forward mode, or not batch, and what serves them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.experimental.ode import odeint
from jax.scipy.special import gammainc

import parallel_mcmc as pm
from parallel_mcmc._core.ability import Ability, ability

GPU = pm.auto(platform="gpu")
KEY = jax.random.key(0)
START = jnp.zeros(2)
DERIVATIVES = [pm.deer(), pm.quasi_deer(), pm.quasi_deer(pm.exact_diagonal()), pm.elk()]
BLOCKS = [pm.block_quasi_deer(), pm.block_quasi_deer(pm.exact_blocks())]


@jax.custom_vjp
def square(x):
    return jnp.sum(x**2)


@jax.custom_vjp
def pull(x, slope):
    return slope * x


# The second is a gradient of which there is no other derivative.
square.defvjp(lambda x: (square(x), x), lambda x, g: (g * pull(x, 2.0),))
pull.defvjp(lambda x, slope: (pull(x, slope), slope), lambda slope, g: (g * slope, None))


def custom(x):
    return -square(x) / 2


def incomplete_gamma(x):
    return jnp.log(gammainc(jnp.exp(x[0]), jnp.exp(x[1]))) - jnp.sum(x**2) / 2


def on_the_host(vmap_method):
    """-|x|^2 / 2 and its gradient from callbacks."""

    def call(f, shape, x):
        return jax.pure_callback(f, shape, x, vmap_method=vmap_method)

    def value(x):
        x = np.asarray(x)
        return np.asarray(-np.sum(x**2, axis=-1) / 2, x.dtype)

    @jax.custom_vjp
    def logdensity(x):
        return call(value, jax.ShapeDtypeStruct((), x.dtype), x)

    def backward(x, g):
        return (g * call(lambda x: -np.asarray(x), jax.ShapeDtypeStruct(x.shape, x.dtype), x),)

    logdensity.defvjp(lambda x: (logdensity(x), x), backward)
    return logdensity


MODELS = {
    "custom": custom,
    "incomplete_gamma": incomplete_gamma,
    "callback": on_the_host("expand_dims"),
    "single_callback": on_the_host(None),
}
ABILITIES = dict.fromkeys(MODELS, Ability.BATCHES) | {"single_callback": Ability.STEPS}


@functools.cache
def kernel(name):
    return pm.hmc(MODELS[name], 0.3, None, 4).at(START)


def recursion(name):
    """A gradient step, as x_t = f(x_{t-1}, u_t)."""
    return lambda x, u: x + 0.3 * jax.grad(MODELS[name])(x) + u


def model():
    numpyro.factor("target", custom(numpyro.sample("x", dist.Normal(0, 1).expand([2]).to_event(1))))


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_tells_what_jax_can_make_of_a_step(name):
    assert ability(recursion(name), START, jnp.zeros((1, 2))) == ABILITIES[name]


def test_a_step_with_derivatives_has_them():
    assert ability(lambda x, u: jnp.sin(x) + u, START, jnp.zeros((1, 2))) == Ability.DERIVATIVES


@pytest.mark.parametrize("solver", DERIVATIVES + BLOCKS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("name", ["custom", "incomplete_gamma", "callback"])
def test_a_solver_with_derivatives_says_that_there_are_none_and_what_to_take(name, solver):
    words = (
        r"^This solver needs the forward-mode derivative .* use pm\.jacobi\(\) or pm\.picard\(\)"
    )
    with pytest.raises(TypeError, match=words) as raised:
        pm.solve(recursion(name), START, jnp.zeros((8, 2)), solver=solver)
    assert "\n" not in str(raised.value) and raised.value.__cause__ is not None


@pytest.mark.parametrize(
    "solver", [pm.jacobi(), pm.picard(), pm.deer()], ids=lambda solver: solver.name
)
def test_a_parallel_solver_says_what_a_callback_lacks(solver):
    words = r"^A parallel solver takes all steps at once.*`vmap_method`, or use pm\.sequential\(\)"
    for run in (
        lambda: pm.solve(recursion("single_callback"), START, jnp.zeros((8, 2)), solver=solver),
        lambda: pm.sample(KEY, kernel("single_callback"), START, 8, solver=solver),
    ):
        with pytest.raises(TypeError, match=words):
            run()


def test_errors_of_the_model_itself_are_not_explained_away():
    with pytest.raises(ValueError, match="mine"):

        def f(x, u):
            raise ValueError("mine")

        pm.solve(f, START, jnp.zeros((8, 2)), solver=pm.deer())


SLOW_GAMMA = pytest.param("incomplete_gamma", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["custom", SLOW_GAMMA])
def test_auto_leaves_out_what_needs_derivatives(name):
    trace = pm.sample(KEY, kernel(name), START, 64, solver=GPU)
    assert trace.settings["solver_choice"].startswith("jacobi: perturbations shrink")
    assert "iterations of jacobi to expect" in trace.settings["solver_choice"]
    assert trace.settings["solver_choice"].endswith(
        "; a step has no forward-mode derivative for other solvers"
    )
    expected = pm.sample(KEY, kernel(name), START, 64, solver=pm.sequential())
    np.testing.assert_allclose(trace.position, expected.position, atol=1e-4)


def test_auto_runs_step_by_step_what_cannot_be_batched():
    with pytest.warns(pm.ConvergenceWarning, match="slow on an accelerator: JAX cannot batch"):
        trace = pm.sample(KEY, kernel("single_callback"), START, 8, solver=GPU)
    assert trace.settings["solver_choice"] == "sequential: JAX cannot batch a step"


@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")
def test_inside_jit_auto_takes_what_can_be_traced():
    def chosen(name):
        def run(x0):
            return pm.solve(recursion(name), x0, jnp.zeros((8, 2)), solver=GPU).info

        return str(jax.make_jaxpr(run)(START))

    assert "pure_callback" not in chosen("custom")
    assert "while" not in chosen("single_callback") and "scan" in chosen("single_callback")
    assert "while" in chosen("custom")


def test_chains_that_cannot_be_batched_run_one_after_the_other():
    start = jnp.array([[0.0, 1.0], [2.0, 3.0]])
    run = functools.partial(pm.sample, KEY, solver=pm.sequential(), num_chains=2)
    trace = run(kernel("single_callback"), start, 8)
    plain = pm.hmc(lambda x: -jnp.sum(x**2) / 2, 0.3, None, 4).at(START)
    np.testing.assert_allclose(trace.position, run(plain, start, 8).position, rtol=1e-4)


@pytest.mark.parametrize("method", ["own", "pm"])
def test_numpyro_kernels_choose_without_derivatives(method):
    MCMC = numpyro.infer.MCMC if method == "own" else pm.MCMC
    runner = functools.partial(
        MCMC, num_warmup=20, num_samples=64, num_chains=2, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    kernel = pm.ParallelHMC(
        model, solver=GPU, max_num_steps=4, window=64, diagnose=True,
        step_size=0.3, adapt_step_size=False, adapt_mass_matrix=False,
    )  # fmt: skip
    mcmc = runner(kernel)
    mcmc.run(KEY, extra_fields=("solve.num_iterations",))
    assert np.all(mcmc.get_extra_fields()["solve.num_iterations"] > 0)
    settings = mcmc.sampler.settings(mcmc.last_state)
    assert settings["solver"] == "jacobi"
    assert "no forward-mode derivative" in settings["solver_choice"]
    assert np.all(np.isfinite(mcmc.last_state.predictability.exponent))


# The exponent without derivatives ------------------------------------------------------------


@jax.custom_vjp
def hidden(x):
    return x


hidden.defvjp(lambda x: (x, None), lambda _, g: (g,))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, u: 0.5 * x + u,
        lambda x, u: jnp.array([[0.6, 0.5], [-0.5, 0.6]], x.dtype) @ x + u,
        lambda x, u: 2 * jnp.sin(2 * x[::-1]) + u,
    ],
    ids=["halves", "rotates", "expands"],
)
def test_two_nearby_trajectories_tell_the_exponent(f, dtype):
    inputs = jax.random.normal(KEY, (400, 2), dtype)
    x0 = jnp.zeros(2, dtype)
    trajectory = pm.solve(f, x0, inputs, solver=pm.sequential()).trajectory
    expected = pm.lyapunov_exponent(f, x0, inputs, trajectory)
    found = pm.lyapunov_exponent(lambda x, u: f(hidden(x), u), x0, inputs, trajectory)
    # Where a step is curved the distance matters: 3e-4 spreads in float32.
    np.testing.assert_allclose(
        found.value, expected.value, atol=5e-3 if dtype == "float32" else 1e-5
    )
    np.testing.assert_allclose(found.standard_error, expected.standard_error, atol=5e-3)


def test_far_from_the_origin_too_the_distance_is_above_rounding():
    inputs = jax.random.normal(KEY, (400, 2))
    f = lambda x, u: 1e4 + 0.5 * (hidden(x) - 1e4) + u  # noqa: E731
    x0 = jnp.full(2, 1e4)
    trajectory = pm.solve(f, x0, inputs, solver=pm.sequential()).trajectory
    found = pm.lyapunov_exponent(f, x0, inputs, trajectory).value
    np.testing.assert_allclose(found, np.log(0.5), atol=0.05)


@pytest.mark.parametrize("name", ["custom", "incomplete_gamma", "single_callback"])
def test_predictability_needs_no_derivatives(name):
    options = {"solver": pm.sequential(), "diagnose": True}
    result = pm.sample(KEY, kernel(name), START, 100, **options).predictability
    assert result.exponent[0] < -0.1 and np.isnan(result.amplification[0])
    assert result.verdict().startswith("The chain forgets perturbations")


def test_what_is_not_finite_has_an_unknown_exponent_in_words():
    f = lambda x, u: jnp.where(u > 0, jnp.nan, x / 2)  # noqa: E731
    inputs = jnp.zeros(100).at[50].set(1.0)
    with pytest.warns(pm.ConvergenceWarning):
        solution = pm.solve(f, jnp.ones(1), inputs, solver=pm.sequential(), diagnose=True)
    assert "is unknown: a step of it, or of one beside it, is not finite" in (
        solution.predictability.verdict()
    )


# A differential equation ---------------------------------------------------------------------

TIMES = np.linspace(0.0, 4.0, 5, dtype=np.float32)
COUNTS = np.array([[10, 5], [16, 6], [21, 12], [14, 20], [8, 16]], np.float32)


def growth(z, t, theta):
    prey, predators = z
    a, b, c, d = theta
    return jnp.stack([(a - b * predators) * prey, (d * prey - c) * predators])


def lotka_volterra(counts):
    """NumPyro's example, shortened."""
    theta = numpyro.sample("theta", dist.LogNormal(jnp.log(jnp.array([0.6, 0.05, 0.6, 0.05])), 0.2))
    z = odeint(growth, jnp.array([10.0, 5.0]), TIMES, theta, rtol=1e-4, atol=1e-3, mxstep=200)
    numpyro.sample("counts", dist.LogNormal(jnp.log(jnp.maximum(z, 1e-3)), 0.3), obs=counts)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")  # 20 steps are too few
def test_lotka_volterra_runs_with_the_default_of_a_gpu():
    def draws(solver):
        mcmc = pm.MCMC(
            pm.ParallelHMC(lotka_volterra, solver=solver, max_num_steps=4),
            num_warmup=30, num_samples=20, progress_bar=False,
        )  # fmt: skip
        mcmc.run(KEY, COUNTS)
        return mcmc.get_samples()["theta"], mcmc.solve_settings()["solver_choice"]

    (theta, reason), (expected, _) = draws(GPU), draws(pm.sequential())
    assert "a step has no forward-mode derivative for other solvers" in reason
    np.testing.assert_allclose(theta, expected, rtol=1e-3)
