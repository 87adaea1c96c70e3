"""The bars of `pm.MCMC`: what they show of each phase, also in threads, and change no draw."""

import concurrent.futures
import re
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._mcmc.progress import written


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    for name in ("CI", "PYTEST_XDIST_WORKER"):  # where NumPyro shows no bar
        monkeypatch.delenv(name, raising=False)


def potential_fn(z):
    return jnp.sum(z["x"] ** 2) / 2


def run(solver=None, progress_bar=True, num_samples=100, warmup=False, potential_fn=potential_fn):
    kernel = pm.ParallelHMC(
        potential_fn=potential_fn, num_helpers=0, solver=solver or pm.sequential(),
        trajectory_length=1.0, max_num_steps=3,
    )  # fmt: skip
    mcmc = pm.MCMC(
        kernel, num_warmup=60, num_samples=num_samples, num_chains=2, chain_method="vectorized",
        progress_bar=progress_bar,
    )  # fmt: skip
    start = {"x": jnp.ones((2, 2))}
    if warmup:
        mcmc.warmup(jax.random.key(0), init_params=start, collect_warmup=True)
    mcmc.run(jax.random.key(0), init_params=None if warmup else start)
    return mcmc


def last_lines(capsys):
    """Of the bar of each phase, by its name."""
    lines = re.split("[\r\n]+", capsys.readouterr().err)
    return {line.split(":")[0]: line for line in lines if "/s" in line}


def test_both_phases_of_chains_made_step_by_step_are_shown(capsys):
    mcmc = run()
    lines = last_lines(capsys)
    rates = " ".join(f"{rate:.2f}" for rate in mcmc.last_state.mean_accept_prob)
    sizes = " ".join(f"{size:.2g}" for size in mcmc.last_state.adapt_state.step_size)
    num = " ".join(map(str, mcmc.get_extra_fields(True)["diverging"].sum(1))).replace("0 0", "0")
    assert re.search(rf"120/120 .*, step size {sizes}, acceptance \S", lines["warm-up"])
    assert re.search(
        rf"200/200 .*, step size {sizes}, acceptance {rates}, divergences {num}", lines["sampling"]
    )


def test_the_iterations_of_a_solve_are_counted(capsys):
    mcmc = run(pm.jacobi())
    (line,) = re.findall("200/200 .*", last_lines(capsys)["sampling"])
    num_iterations = int(mcmc.last_state.solve.num_iterations.max())
    shown = int(re.search(r"iteration (\d+)", line)[1])
    assert 0 <= shown - num_iterations <= 1  # the last evaluation may show that nothing is left
    assert "step size" in line and "acceptance" in line and "divergences 0" in line


@pytest.mark.parametrize("solver", [pm.sequential(), pm.jacobi()], ids=lambda solver: solver.name)
@pytest.mark.parametrize("warmup", [False, True], ids=["in one go", "after a warm-up collected"])
def test_bars_change_no_draw(solver, warmup):
    with_bars, without = (run(solver, on, warmup=warmup) for on in (True, False))
    np.testing.assert_array_equal(with_bars.get_samples()["x"], without.get_samples()["x"])
    assert with_bars.critical_path() == without.critical_path()


def test_a_bar_stays_where_its_run_was_interrupted(capsys):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Python handles signals in the main thread")
    count = []

    def interrupting(z):
        jax.debug.callback(evaluated, z["x"][0])
        return potential_fn(z)

    def evaluated(_):
        count.append(1)
        if len(count) == press:
            signal.raise_signal(signal.SIGINT)

    press = 0
    run(potential_fn=interrupting)
    jax.effects_barrier()
    press = len(count) * 3 // 4
    count.clear()
    with pytest.warns(UserWarning, match="Interrupted after"):
        mcmc = run(potential_fn=interrupting)
    (there,) = re.findall(r"(\d+)/200", last_lines(capsys)["sampling"])
    assert int(there) == mcmc.get_samples()["x"].shape[0] < 200


def test_runs_in_two_threads_show_bars_of_their_own(capsys):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda num_samples: run(num_samples=num_samples), (100, 125)))
    shown = capsys.readouterr().err
    assert shown.count("120/120") >= 2
    assert "200/200" in shown and "250/250" in shown


def test_a_number_for_each_chain_is_written():
    assert written("divergences", np.array([0, 3])) == "0 3"
    assert written("acceptance", np.array([0.801, 0.799])) == "0.80"
    assert written("step size", np.linspace(0.1, 1, 20)) == "0.1 to 1"
