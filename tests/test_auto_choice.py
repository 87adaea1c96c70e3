"""Which solver `auto` chooses, after which pilots, and that it says why."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from auto_pilots import GPU, NOISE, diagonal, expands, forgets, pilot_of, rotates

import parallel_mcmc as pm
from parallel_mcmc._core.auto import Choice, choose
from parallel_mcmc._core.forecasts import forecast
from parallel_mcmc._core.lyapunov import growth_of
from parallel_mcmc._core.pilot import Pilot
from parallel_mcmc._core.profiles import Profile
from parallel_mcmc._core.windows import run_info, solve_vectors

# A pilot that does not converge says so where it is run by `pm.solve`, as here.
pytestmark = pytest.mark.filterwarnings("ignore::parallel_mcmc.ConvergenceWarning")


def of_steps(info, log_growth):
    """A pilot of steps run one by one, given the growth in each of them."""
    return Pilot(info, growth_of(log_growth[log_growth.size // 2 :]))


def slowly(rate, solved=0):
    """Attempts at a chain that forgets at this rate; solvers solve it in fewer and fewer iterations
    from ``solved`` on, or not at all."""
    iterations = iter(range(solved, 0, -1))

    def attempt(solver, num_steps):
        info = run_info(jnp.ones(num_steps, bool), jnp.float32)
        if solver == pm.sequential():
            return of_steps(info, jnp.full(num_steps, -rate))
        if not solved:
            return Pilot(info._replace(status=pm.Status.FINISHED_SEQUENTIALLY), None)
        return taking(next(iterations), info)

    return attempt


def taking(iterations, info):
    """A pilot by a solver with derivatives that took so many."""
    n = jnp.asarray(iterations)
    return Pilot(info._replace(num_iterations=n, num_in_turn=3 * n), None)


def slow(x, u):
    """Rotates, and forgets too slowly for Jacobi to pay."""
    return rotates(1.217 * x, u)


@pytest.mark.parametrize("f, solver", [(diagonal, pm.quasi_deer()), (slow, pm.deer())])
@pytest.mark.slow
def test_the_fewest_gradients_one_after_the_other_are_taken(f, solver):
    attempt, calls = pilot_of(f)
    choice = choose(GPU, None, 400, jnp.zeros(3), attempt)
    assert choice.solver == dataclasses.replace(solver, max_iterations=200)
    assert choice.reason.startswith(f"{solver.name}: a pilot of 256 steps took these iterations: ")
    assert calls == ["sequential", "deer", "quasi_deer"]
    assert choose(GPU, None, 400, jnp.zeros(3), attempt) == choice


def test_a_chain_that_forgets_at_once_needs_no_pilot():
    attempt, calls = pilot_of(forgets)
    choice = choose(GPU, None, 10**6, jnp.zeros(3), attempt)
    assert choice.reason.endswith(" per step: about 3 iterations of jacobi to expect")
    assert choice.solver == pm.jacobi(max_iterations=200) and calls == ["sequential"]
    assert choice.in_turn == 256 + 3  # and a product with all Jacobians side by side


def test_what_helpers_have_measured_is_not_measured_again():
    attempt, calls = pilot_of(forgets)
    growth = growth_of(jnp.full(100, -0.5))
    choice = choose(GPU, None, 10**6, jnp.zeros(3), attempt, growth=growth)
    assert choice.solver == pm.jacobi(max_iterations=200) and choice.exponent == -0.5
    assert not calls and choice.in_turn == 0


@pytest.mark.parametrize("dim, solver", [(10, pm.jacobi(then=pm.deer())), (89, pm.jacobi())])
def test_deer_follows_only_where_its_matrices_are_small(dim, solver):
    growth = growth_of(jnp.full(100, -0.1))
    profile = Profile(arrays=((4 * dim, 1),))
    attempt = pilot_of(forgets)[0]
    choice = choose(GPU, None, 1_000, jnp.zeros(dim), attempt, 4, lambda: profile, growth)
    assert dataclasses.replace(choice.solver, max_iterations=None) == solver


@pytest.mark.parametrize(
    "dim, iterations, tried, chosen",
    [
        (10, 4, ["deer", "quasi_deer"], "deer"),
        (10, 12, ["deer", "quasi_deer"], "quasi_deer"),  # DEER has time for ten
        (100, 4, ["quasi_deer"], "quasi_deer"),
    ],
)
def test_how_long_an_evaluation_takes_weighs_in_a_pilot(dim, iterations, tried, chosen):
    """100,000 steps, of which Jacobi is expected to take 2,400 iterations."""
    choice, calls = choice_of_long_chain(-0.005, dim, iterations)
    assert choice.solver.name == chosen
    assert calls == tried


def test_solvers_are_compared_by_how_long_they_take_for_the_whole_chain():
    """In the pilot an evaluation by DEER takes twice as long as by quasi-DEER, then 40 times."""
    choice, calls = choice_of_long_chain(np.nan, 40, 8)
    assert calls == ["jacobi", "deer", "quasi_deer"]
    assert choice.solver.name == "quasi_deer"


def choice_of_long_chain(rate, dim, iterations):
    """The choice for 100,000 steps that DEER solves in so many iterations, and the pilots."""
    calls = []

    def attempt(solver, num_steps):
        calls.append(solver.name)
        info = run_info(jnp.ones(num_steps, bool), jnp.float32)
        needed = {"deer": iterations, "quasi_deer": 41, "jacobi": 900}[solver.name]
        if needed > solver.max_iterations:
            return Pilot(info._replace(status=pm.Status.FINISHED_SEQUENTIALLY), None)
        return taking(needed, info)

    profile = Profile(arrays=((4 * dim, 1),))
    growth = growth_of(jnp.full(100, rate))
    choice = choose(GPU, None, 100_000, jnp.zeros(dim), attempt, 1, lambda: profile, growth)
    return choice, calls


def test_a_solve_that_takes_longer_than_the_steps_one_by_one_is_not_made():
    """120 iterations would do, but one operation of four in a step writes 80,000 numbers."""
    profile = Profile(arrays=((400, 3), (320_000, 1)))
    growth = growth_of(jnp.full(100, -0.1))
    arguments = GPU, None, 1_000, jnp.zeros(100), pilot_of(forgets)[0], 4
    with pytest.warns(pm.ConvergenceWarning, match="each as long as 86.1 steps. Many chains make"):
        choice = choose(*arguments, lambda: profile, growth)
    assert choice.solver.name == "sequential" and choice.in_turn == 0
    on_devices = choose(*arguments, lambda: profile, growth, num_devices=64)
    assert on_devices.solver.name == "jacobi"


def test_what_pilots_take_is_counted():
    choice = choose(GPU, None, 1_000, jnp.zeros(3), slowly(0.005, solved=50))
    assert choice.solver == pm.quasi_deer(max_iterations=200)  # four times 49
    assert choice.in_turn == 256 + 3 + 3 * 50 + 3 * 49


@pytest.mark.parametrize(
    "f, tried",
    [
        # A derivative sees nothing of it.
        (lambda x, u: jnp.where(u < jnp.tanh(x), 1.0, -1.0), ["sequential", "jacobi"]),
        # Grows by nothing that matters in 400 steps.
        (lambda x, u: 1.000_001 * x + u, ["sequential", "deer", "quasi_deer"]),
    ],
)
def test_what_the_exponent_does_not_tell_is_tried(f, tried):
    attempt, calls = pilot_of(f)
    choice = choose(GPU, None, 400, jnp.zeros(3), attempt)
    assert calls[: len(tried)] == tried
    assert choice.solver.name != "sequential"


def test_the_way_in_from_a_poor_start_does_not_count():
    info = run_info(jnp.ones(256, bool), jnp.float32)
    growth = jnp.where(jnp.arange(256) < 128, 1.0, -1.0)
    assert forecast(of_steps(info, growth[::-1]).growth, 1_000).grows
    seen = forecast(of_steps(info, growth).growth, 1_000)
    assert not seen.grows and seen.iterations == 12  # -log of the noise, 7.6e-6, is 11.8
    assert seen.until_close == 4  # -log of the trust radius, 0.03, is 3.5
    assert seen.words == "perturbations shrink by a factor 0.368 per step"


def test_a_few_steps_are_not_worth_a_solver():
    attempt, calls = pilot_of(rotates)
    assert choose(GPU, None, 3, jnp.zeros(3), attempt).reason == "sequential: 3 steps are too few"
    assert not calls


def test_a_chain_that_expands_runs_step_by_step_and_is_told_of():
    attempt, calls = pilot_of(expands)
    with pytest.warns(pm.ConvergenceWarning, match=r"slow on an accelerator: .* Reparameterise"):
        choice = choose(GPU, None, 400, jnp.zeros(3), attempt)
    assert choice.solver.name == "sequential" and calls == ["sequential"]
    assert choice.reason.endswith(" per step, so that no parallel method helps")


def test_what_no_solver_solves_runs_step_by_step_and_is_told_of():
    def attempt(solver, num_steps):
        """Of a chain that neither grows nor shrinks, and is never solved."""
        info = run_info(jnp.ones(num_steps, bool), jnp.float32)
        if solver == pm.sequential():
            return of_steps(info, jnp.zeros(num_steps))
        return Pilot(info._replace(status=pm.Status.FINISHED_SEQUENTIALLY), None)

    with pytest.warns(pm.ConvergenceWarning, match=r"no solver solved .*jax_enable_x64"):
        assert choose(GPU, None, 400, jnp.zeros(3), attempt).solver.name == "sequential"


@pytest.mark.parametrize("T, length", [(100, 100), (1_000, 256), (2_000, 500), (10**6, 1_024)])
def test_a_pilot_is_a_quarter_of_a_chain_and_no_longer_than_asked(T, length):
    tried = []

    def attempt(solver, num_steps):
        tried.append((solver.name, num_steps))
        info = run_info(jnp.ones(num_steps, bool), jnp.float32)
        if not tried[1:]:
            return of_steps(info, jnp.zeros(num_steps))
        return taking(8 if solver.name == "quasi_deer" else 9, info)

    choice = choose(pm.auto("gpu", tol=1e-3), None, T, jnp.zeros(3), attempt)
    pilots = [(name, length) for name in ("deer", "quasi_deer")]
    assert tried == [("sequential", min(length, 256)), *pilots]
    assert choice.solver == pm.quasi_deer(tol=1e-3, max_iterations=200)


@pytest.mark.parametrize("T, rate, most", [(10_000, 0.01, 128 / 3), (1_000, 0.0, 256 * 2 / 9)])
def test_a_pilot_stops_where_it_does_not_pay(T, rate, most):
    limits = []

    def attempt(solver, num_steps):
        info = run_info(jnp.ones(num_steps, bool), jnp.float32)
        if solver == pm.sequential():
            return of_steps(info, jnp.full(num_steps, -rate))
        limits.append(solver.max_iterations)
        return taking(20, info)

    choose(GPU, None, T, jnp.zeros(3), attempt)
    assert limits == [int(most)] * 2


def test_on_a_cpu_nothing_is_tried():
    attempt, calls = pilot_of(rotates)
    choice = choose(pm.auto(platform="cpu"), None, 400, jnp.zeros(3), attempt)
    assert choice.solver.name == "sequential" and not calls
    assert "cpu" in choice.reason.lower()


@pytest.mark.parametrize("cores, name", [(7, "sequential"), (8, "jacobi")])
def test_cores_over_which_time_lies_make_up_for_iterations(cores, name, recwarn):
    attempt, _ = pilot_of(forgets)  # in three iterations, and four are the least that is asked for
    options = pm.auto(platform="cpu")
    choice = choose(options, None, 400, jnp.zeros(3), attempt, num_devices=cores)
    assert choice.solver.name == name and not recwarn.list
    attempt, _ = pilot_of(rotates)
    choice = choose(options, None, 400, jnp.zeros(3), attempt, num_devices=cores + 1)
    assert choice.reason.endswith("jacobi to expect, too many for 8 cores of a CPU") == (cores == 7)


def test_a_solver_and_a_window_that_are_given_are_taken_as_they_are():
    solver = pm.picard(tol=1e-3, max_iterations=7)
    assert choose(solver, None, 400, jnp.zeros(3), None) == Choice(solver, 400, "picard: as asked")
    plain = choose(pm.deer(), None, 1_000, jnp.zeros(3), None).solver
    assert plain == pm.deer(max_iterations=200)
    attempt, _ = pilot_of(forgets)
    assert choose(GPU, 100, 400, jnp.zeros(3), attempt).window == 100


@pytest.mark.parametrize("dim, name", [(128, "deer"), (129, "quasi_deer")])
def test_inside_jit_the_number_of_unknowns_decides(dim, name):
    choice = choose(GPU, None, 400, jnp.zeros(dim), None)
    assert choice.solver.name == name and "without a pilot" in choice.reason


def test_above_max_dense_no_jacobian_is_made():
    attempt, calls = pilot_of(diagonal)
    choose(pm.auto(platform="gpu", max_dense=2), None, 400, jnp.zeros(3), attempt)
    assert calls == ["sequential", "quasi_deer"]


@pytest.mark.usefixtures("unchecked")
def test_other_things_than_solvers_are_an_error():
    with pytest.raises(TypeError, match=r"such as pm\.deer\(\), or pm\.auto\(\), got str"):
        pm.solve(forgets, jnp.zeros(3), NOISE, solver="deer")
    with pytest.raises(ValueError, match="num_pilot_steps must be at least 2, got 1"):
        pm.auto(num_pilot_steps=1)


def test_a_chain_that_forgets_slowly_has_as_many_iterations_as_pay():
    for T, limit in [(700, 800), (10_000, 1_600)]:  # four times 351, or as many as steps
        choice = choose(GPU, None, T, jnp.zeros(3), slowly(0.01))
        assert choice.solver == pm.jacobi(then=pm.deer(), max_iterations=limit)
        assert "about 351 iterations of jacobi before deer to expect" in choice.reason
        assert ("no solver solved a pilot of 1024 steps" in choice.reason) == (T == 10_000)


@pytest.mark.parametrize("T, limit", [(500, None), (1_000, 300)])
def test_where_they_do_not_pay_or_are_not_allowed_it_runs_step_by_step(T, limit):
    with pytest.warns(pm.ConvergenceWarning, match="no solver solved a pilot"):
        options = pm.auto("gpu", max_iterations=limit)
        choice = choose(options, None, T, jnp.zeros(3), slowly(0.01))
    assert choice.solver.name == "sequential"


def test_iterations_pay_by_the_window():
    with pytest.warns(pm.ConvergenceWarning, match="no solver solved a pilot"):
        choice = choose(GPU, 500, 1_000, jnp.zeros(3), slowly(0.01))
    assert choice.solver.name == "sequential"


def test_a_limit_and_a_tolerance_that_are_given_are_kept():
    options = pm.auto("gpu", tol=1e-3, max_iterations=500)
    choice = choose(options, None, 1_000, jnp.zeros(3), slowly(0.01))
    assert choice.solver == pm.jacobi(then=pm.deer(), tol=1e-3, max_iterations=500)
    attempt, _ = pilot_of(forgets)
    with pytest.warns(pm.ConvergenceWarning, match="about 3 iterations of jacobi to expect; no"):
        choose(pm.auto("gpu", max_iterations=2), None, 400, jnp.zeros(3), attempt)


def test_what_a_pilot_does_not_solve_is_left(sequential_chain):
    """Nobody counts steps that finish it, and they may be as many as it has."""
    solver = pm.jacobi(max_iterations=2)
    chain, info = solve_vectors(
        rotates, jnp.zeros(3), NOISE, solver, 400, jax.random.key(0), finishes=False
    )
    assert int(info.status) != pm.Status.CONVERGED
    expected = sequential_chain(rotates, jnp.zeros(3), NOISE)
    np.testing.assert_array_equal(chain[0], expected[0])  # solved by the first iteration
    assert float(jnp.max(jnp.abs(chain[-1] - expected[-1]))) > 0.1
