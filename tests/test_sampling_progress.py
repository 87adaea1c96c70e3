"""The progress bar of `pm.sample`: it reaches the end, also in two threads, and changes no draw."""

import concurrent.futures
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm.auto
from chains import MALA, NUM_SAMPLES

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(
    "solver, window",
    [
        pytest.param(pm.deer(), 16, id="deer-16"),
        pytest.param(pm.deer(), None, id="deer", marks=pytest.mark.slow),
        pytest.param(pm.sequential(), None, id="sequential", marks=pytest.mark.slow),
    ],
)
def test_a_progress_bar_reaches_the_end_and_changes_no_draw(solver, window, monkeypatch):
    bars = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, disable=False, **kwargs)
            self.steps = []
            bars.append(self)

        def update(self, n=1):
            self.steps.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    options = {"num_chains": 2, "window": window, "solver": solver}
    quiet, shown = (
        pm.sample(
            jax.random.key(6), MALA, jnp.ones((2, 2)), NUM_SAMPLES, progress_bar=on, **options
        )
        for on in (False, True)
    )
    np.testing.assert_array_equal(shown.position, quiet.position)
    (bar,) = bars
    assert bar.total == bar.n == 2 * NUM_SAMPLES
    assert min(bar.steps) >= 0
    assert np.count_nonzero(bar.steps) > 1  # it moved on the way


def test_runs_in_two_threads_move_a_bar_each(monkeypatch):
    bars, both = [], threading.Barrier(2)

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, disable=False, **kwargs)
            self.moves = []
            bars.append(self)
            both.wait(60)  # both runs are on, by one program

        def update(self, n=1):
            self.moves.append((self.n, n, self.n + n <= self.total))
            return super().update(n)

    def run(seed):
        pm.sample(
            jax.random.key(seed), MALA, jnp.ones((2, 2)), NUM_SAMPLES, num_chains=2,
            progress_bar=True, solver=pm.deer(), window=4,
        )  # fmt: skip

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (0, 1)))
    assert [bar.n for bar in bars] == [2 * NUM_SAMPLES] * 2
    for bar in bars:
        assert np.count_nonzero([n for _, n, _ in bar.moves]) > 20, "it moved on the way"
        assert all(n >= 0 and within for _, n, within in bar.moves)


@pytest.mark.slow
def test_a_progress_bar_is_closed_when_the_run_fails():
    transition = pm.gibbs([pm.GibbsBlock(jax.random.normal, lambda x, z: {"unknown": z})])
    with pytest.raises(ValueError, match="unknown") as failure:
        pm.sample(
            jax.random.key(6), transition, {"x": 0.0}, 10, progress_bar=True, solver=pm.deer()
        )
    assert failure.tb is not None  # its frames would keep a bar that is open
    assert not tqdm.auto.tqdm._instances
