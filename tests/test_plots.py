"""What is drawn equals the numbers."""

import blackjax
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.tolerance import spread

matplotlib.use("Agg")
from matplotlib import pyplot as plt

KEY = jax.random.key(0)
T = 60
X0, INPUTS = jnp.array([1.0, -2.0]), jax.random.normal(KEY, (T, 2))


def f(x, u):
    return jnp.array([0.6, 0.5]) * jnp.sin(2 * x[::-1]) + u


@pytest.fixture
def ax():
    yield plt.subplots()[1]
    plt.close("all")


def drawn(ax):
    """The residuals whose logarithm a picture shows, iterations by steps."""
    return 10.0 ** np.asarray(ax.images[0].get_array())


def jacobi_by_hand(num_iterations, scale):
    """The residuals, in spreads, of the iterations x_t <- f(x_{t-1}, u_t)."""
    x, rows = jnp.broadcast_to(X0, (T, 2)), []
    for _ in range(num_iterations):
        new = jax.vmap(f)(jnp.concatenate([X0[None], x[:-1]]), INPUTS)
        rows.append(jnp.max(jnp.abs(new - x) / scale, axis=-1))
        x = new
    return np.asarray(rows)


def test_the_colours_are_the_residuals_of_the_iterations(ax):
    solution = pm.solve(f, X0, INPUTS, solver=pm.jacobi())
    assert pm.plot_convergence(f, X0, INPUTS, solver=pm.jacobi(), ax=ax) is ax
    rows = drawn(ax)
    assert rows.shape == (solution.info.num_iterations, T)
    floor = 10.0 ** ax.images[0].get_clim()[0]
    # Residuals of 1e-5 have rounding of 1e-7. From the third iteration on some states wait.
    expected = np.maximum(jacobi_by_hand(3, spread(solution.trajectory)), floor)
    np.testing.assert_allclose(rows[:3], expected, rtol=1e-2, atol=2e-6)
    assert np.mean(rows[:20] > 1e-3) > 0.3
    # What is within the rounding of a step has the darkest colour.
    np.testing.assert_allclose(rows.min(), floor, rtol=1e-5)
    for k, row in enumerate(rows):  # the first k states are exact by then
        np.testing.assert_allclose(row[:k], floor, rtol=1e-5)


@pytest.mark.parametrize(
    "solver",
    [pm.deer(), pytest.param(pm.quasi_deer(), marks=pytest.mark.slow), pm.picard()],
    ids=repr,
)
def test_a_row_is_an_iteration_of_the_solver_and_the_last_one_its_residual(solver, ax):
    info = pm.solve(f, X0, INPUTS, solver=solver).info
    rows = drawn(pm.plot_convergence(f, X0, INPUTS, solver=solver, ax=ax))
    assert len(rows) == info.num_iterations
    assert rows[-1].max() <= max(info.residual, 10.0 ** ax.images[0].get_clim()[0]) * 1.001
    assert ax.get_title(loc="left") == f"{solver.name}: {info.num_iterations} iterations"
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.5, T + 0.5), (len(rows) + 0.5, 0.5))


def test_a_solve_that_stops_at_its_limit_says_how_far_it_came(ax):
    pm.plot_convergence(f, X0, INPUTS, solver=pm.jacobi(max_iterations=3), ax=ax)
    assert len(drawn(ax)) == 3
    assert ax.get_title(loc="left") == f"jacobi: 3 iterations, 2 of {T} steps solved"


@pytest.mark.parametrize("kind", ["own", "blackjax"])
def test_of_a_kernel_it_is_the_chain_that_sample_draws(kind, ax):
    def logdensity_fn(x):
        return -jnp.sum(x["a"] ** 2) / 2

    step = {"own": pm.hmc(logdensity_fn, 0.3, None, 4)}.get(kind)
    step = step or blackjax.hmc(logdensity_fn, 0.3, jnp.ones(2), 4)
    start = {"a": jnp.array([2.0, 1.0])}
    trace = pm.sample(KEY, step, start, 40, solver=pm.jacobi())
    pm.plot_convergence(step, start, KEY, num_samples=40, solver=pm.jacobi(), ax=ax)
    assert drawn(ax).shape == (trace.solve.num_iterations[0], 40)


@pytest.mark.parametrize("solver", [pm.sequential(), pm.auto()], ids=repr)
def test_what_has_no_iterations_is_refused(solver):
    with pytest.raises(ValueError, match=r"no iterations of .* such as pm\.deer\(\)"):
        pm.plot_convergence(f, X0, INPUTS, solver=solver)


def test_a_line_falls_as_the_exponent_says(ax):
    kernel = pm.hmc(lambda x: -jnp.sum(x**2) / 2, 0.2)
    run = {"num_chains": 2, "solver": pm.sequential(), "diagnose": True}
    trace = pm.sample(KEY, kernel, jnp.zeros((2, 2)), 200, **run)
    assert pm.plot_predictability(trace, ax=ax) is ax
    found = trace.predictability
    for i, line in enumerate(ax.lines[:2]):
        steps, sizes = line.get_data()
        assert len(steps) == 1 + max(found.expected_iterations)
        np.testing.assert_allclose(np.diff(np.log(sizes)), found.exponent[i], rtol=1e-5)
        band = ax.collections[i].get_paths()[0].vertices
        at_end = np.log(band[band[:, 0] == steps[-1], 1])
        slopes = found.exponent[i] + 2 * found.standard_error[i] * np.array([-1, 1])
        np.testing.assert_allclose(
            [at_end.min(), at_end.max()], slopes * steps[-1], rtol=1e-5, atol=1e-6
        )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[1].startswith(f"chain 1: exponent {found.exponent[1]:.3f} +- ")
    assert ax.get_yscale() == "log"


def test_a_run_of_numpyro_keeps_its_exponent_too(ax):
    options = {"adapt_step_size": False, "adapt_mass_matrix": False, "num_helpers": 0}
    kernel = pm.ParallelMALA(
        lambda: numpyro.sample("x", dist.Normal()), step_size=0.5, diagnose=True, **options
    )
    mcmc = pm.MCMC(kernel, num_warmup=0, num_samples=50, progress_bar=False)
    mcmc.run(KEY)
    pm.plot_predictability(mcmc, ax=ax)
    steps, sizes = ax.lines[0].get_data()
    exponent = float(np.ravel(mcmc.last_state.predictability.exponent)[0])
    np.testing.assert_allclose(sizes, np.exp(exponent * steps), rtol=1e-5)


def test_a_chain_that_forgets_at_once_has_no_line(ax):
    solution = pm.solve(lambda x, u: u, X0, INPUTS, diagnose=True)
    pm.plot_predictability(solution, ax=ax)
    assert ax.get_legend().get_texts()[0].get_text() == "exponent -inf +- 0.000"
    assert ax.lines[0].get_xdata().size == 0


def test_without_a_diagnosis_it_says_what_to_ask_for():
    with pytest.raises(ValueError, match="Nothing was diagnosed; run with `diagnose=True`"):
        pm.plot_predictability(pm.solve(f, X0, INPUTS))


def test_without_axes_a_picture_has_a_figure_of_its_own(ax):
    solution = pm.solve(f, X0, INPUTS, diagnose=True)
    assert pm.plot_predictability(solution) is not ax
    assert pm.plot_convergence(f, X0, INPUTS).figure is not ax.figure
