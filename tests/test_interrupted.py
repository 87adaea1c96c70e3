"""Ctrl-C in a run without a store: what is there is returned, and is the beginning of the run."""

import signal
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._store.interruption import in_memory

NUM_WARMUP, NUM_SAMPLES, ROWS = 20, 800, 200


class Moments:
    """A potential that knows how often it was evaluated, and presses Ctrl-C where it is told to."""

    def __init__(self):
        self.count, self.presses = 0, ()

    def potential_fn(self, z):
        jax.debug.callback(self.evaluated, z["x"][0])
        return jnp.sum(z["x"] ** 2) / 2

    def evaluated(self, _):
        self.count += 1
        if self.count in self.presses:
            signal.raise_signal(signal.SIGINT)

    def start_again(self, *presses):
        jax.effects_barrier()
        self.count, self.presses = 0, presses


@pytest.fixture(scope="module")
def moments():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Python handles signals in the main thread")
    return Moments()


def sampler(moments, solver=None, num_samples=NUM_SAMPLES, **options):
    kernel = pm.ParallelHMC(
        potential_fn=moments.potential_fn, num_helpers=0, solver=solver or pm.sequential(),
        trajectory_length=1.0, max_num_steps=3,
    )  # fmt: skip
    return pm.MCMC(
        kernel, num_warmup=NUM_WARMUP, num_samples=num_samples, progress_bar=False, **options
    )


def start(mcmc, num_chains=1):
    shape = (num_chains, 2) if num_chains > 1 else (2,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.AdaptationWarning)
        mcmc.run(jax.random.key(0), init_params={"x": jnp.ones(shape)})


def interrupt(mcmc, moments, fifths, message, num_chains=1):
    """Press Ctrl-C after so many fifths of the work of a run; returns the draws of a whole one."""
    moments.start_again()
    start(mcmc, num_chains)
    jax.effects_barrier()
    whole = np.asarray(mcmc.get_samples(group_by_chain=True)["x"])
    moments.start_again(moments.count * fifths // 5)
    with pytest.warns(UserWarning, match=message):
        start(mcmc, num_chains)
    moments.start_again()
    return whole


@pytest.fixture(scope="module")
def interrupted(moments):
    """A run that was interrupted in its second window, and all draws of the whole run."""
    mcmc = sampler(moments)
    whole = interrupt(mcmc, moments, 2, "Interrupted after 400 of 800 draws of each chain")
    return mcmc, whole[0]


def test_ctrl_c_returns_the_windows_that_are_there(interrupted):
    mcmc, whole = interrupted
    np.testing.assert_array_equal(mcmc.get_samples()["x"], whole[: 2 * ROWS])
    assert mcmc.get_extra_fields()["diverging"].shape == (2 * ROWS,)
    assert int(mcmc.last_state.i) == NUM_WARMUP + 2 * ROWS


def test_reports_are_on_what_is_there(interrupted, capsys):
    mcmc, _ = interrupted
    mcmc.print_summary()
    assert "Run step by step: 400 draws" in capsys.readouterr().out
    (gradients,) = mcmc.critical_path()["sample_gradients"]
    assert gradients == 2 * ROWS * int(mcmc.last_state.num_steps)
    data = pm.to_inference_data(mcmc)
    assert data["posterior"].sizes["draw"] == 2 * ROWS
    assert data["posterior"].attrs["solve_sequential_steps"] == [2 * ROWS]
    assert data["posterior"].attrs["sample_gradients"] == [gradients]


def test_an_interrupted_run_goes_on_as_the_whole_one(interrupted):
    mcmc, whole = interrupted
    rest = pm.MCMC(
        mcmc.sampler, num_warmup=NUM_WARMUP, num_samples=2 * ROWS, progress_bar=False
    )  # fmt: skip
    rest.post_warmup_state = mcmc.last_state
    rest.run(mcmc.last_state.rng_key)
    np.testing.assert_array_equal(rest.get_samples()["x"], whole[2 * ROWS :])


def test_windows_of_thinned_draws_are_the_thinned_run(moments, interrupted):
    mcmc = sampler(moments, thinning=2)
    start(mcmc)
    np.testing.assert_array_equal(mcmc.get_samples()["x"], interrupted[1][1::2])


@pytest.mark.parametrize("chain_method", ["vectorized", "sequential"])
def test_all_chains_are_interrupted_after_the_same_draws(chain_method, moments):
    mcmc = sampler(moments, num_chains=2, chain_method=chain_method)
    whole = interrupt(mcmc, moments, 3, "Interrupted after 600 of 800 draws", 2)
    np.testing.assert_array_equal(mcmc.get_samples(group_by_chain=True)["x"], whole[:, :600])
    assert mcmc.last_state.solve.num_sequential_steps.tolist() == [600, 600]


def test_a_parallel_solve_is_finished_and_returned(moments):
    mcmc = sampler(moments, pm.jacobi(), num_samples=40)
    whole = interrupt(mcmc, moments, 4, "Ctrl-C found all 40 draws of each chain made")
    np.testing.assert_array_equal(mcmc.get_samples()["x"], whole[0])


def test_ctrl_c_in_the_warm_up_ends_the_run_and_keeps_the_one_before(moments):
    mcmc = sampler(moments)
    interrupt(mcmc, moments, 2, "Interrupted after")

    def told():
        return mcmc.solve_summary(), mcmc.critical_path(), mcmc.solve_settings()

    before, state, before_told = mcmc.get_samples()["x"], mcmc.last_state, told()
    assert len(before) < NUM_SAMPLES
    moments.start_again(5)
    with pytest.raises(KeyboardInterrupt):
        start(mcmc)
    moments.start_again()
    np.testing.assert_array_equal(mcmc.get_samples()["x"], before)
    assert mcmc.last_state is state
    assert told() == before_told


def test_a_second_ctrl_c_ends_a_window(moments):
    def draw(state, window, num_rows):
        signal.raise_signal(signal.SIGINT)
        steps.append(window)
        signal.raise_signal(signal.SIGINT)
        steps.append(window)

    steps = []
    with pytest.raises(KeyboardInterrupt):
        in_memory(draw, None, 1, 3, lambda *_: None, "", 2)
    assert steps == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_of_sample_is_interrupted_too(moments):
    kernel = pm.random_walk(lambda z: -moments.potential_fn(z), 0.5)

    def run():
        return pm.sample(
            jax.random.key(0), kernel, {"x": jnp.ones((2, 2))}, NUM_SAMPLES, num_chains=2,
            solver=pm.sequential(),
        )  # fmt: skip

    moments.start_again()
    whole = run()
    jax.effects_barrier()
    moments.start_again(moments.count * 2 // 5)
    with pytest.warns(UserWarning, match="Interrupted after 400 of 800 draws"):
        trace = run()
    moments.start_again()
    np.testing.assert_array_equal(trace.position["x"], whole.position["x"][:, :400])
    assert trace.sample_stats["accepted"].shape == (2, 400)
    assert trace.solve.num_sequential_steps.tolist() == [400, 400]
    assert pm.to_inference_data(trace)["posterior"].sizes["draw"] == 400


def test_python_handles_ctrl_c_while_a_program_runs(moments):
    @compiled(num_static=0)
    def power(n):
        a = jnp.eye(64) / 2
        return jax.lax.fori_loop(0, n, lambda _, x: jnp.sin(a @ x), a)

    power(1)
    threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        power(50_000)  # some seconds
    interrupted_after = time.perf_counter() - begun
    power(1)  # waits for the one before
    assert interrupted_after < (time.perf_counter() - begun) / 2


def test_windows_of_a_run_share_one_program(moments, caplog):
    def compilations(num_samples):
        mcmc = sampler(moments, num_samples=num_samples)
        caplog.clear()
        with jax.log_compiles():
            start(mcmc)
        return sum("XLA compilation of jit(run)" in r.message for r in caplog.records)

    one, four = compilations(100), compilations(NUM_SAMPLES)
    assert one == four > 0
