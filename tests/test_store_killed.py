"""Stored runs that end before they are done: killed, or without room on the disk."""

import functools
import itertools
import random
import signal
import time

import pytest
from stored_runs import WINDOW, assert_equal, run, start_process

import parallel_mcmc as pm

NUM_SAMPLES = 990  # fifty windows, the last of them in part


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of so many draws, the run that nothing interrupts."""
    return functools.cache(lambda num: run(num, tmp_path_factory.mktemp("whole") / "run.zarr"))


@pytest.mark.parametrize(
    "num_kills, num_samples",
    [(2, NUM_SAMPLES), pytest.param(20, 1_990, marks=pytest.mark.slow)],
    ids=["2 times", "20 times"],
)
def test_a_killed_run_goes_on_and_has_the_same_draws(num_kills, num_samples, tmp_path, whole):
    path, moments = tmp_path / "run.zarr", random.Random(0)
    num_draws = [0]
    for number in itertools.count():
        process = start_process(num_samples, path)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        if number < num_kills:
            # At a random moment from the first window of this process on.
            while not has_grown(path, num_draws[-1]) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
            process.communicate()
            num_draws.append(drawn(path))
            continue
        assert process.communicate(timeout=300)[0] == "done\n"
        break
    assert num_draws[1:] == sorted(num_draws[1:]) and num_draws[1] > 0
    assert num_draws[-1] < num_samples  # it was killed before the end
    assert_equal(run(num_samples, path), whole(num_samples))


def drawn(path):
    return pm.open_store(path)["posterior"].sizes["draw"]


def has_grown(path, before):
    # To open the store each time would take as long as to draw a few windows.
    if WINDOW * len(list(path.glob("posterior/a/c/0/*/0"))) <= before:
        return False
    try:
        return drawn(path) > before
    except pm.StoreError:
        return False


def test_ctrl_c_ends_at_the_next_window(tmp_path, whole):
    path = tmp_path / "run.zarr"
    process = start_process(NUM_SAMPLES, path)
    assert process.stdout.readline() == "ready\n"
    while not has_grown(path, 0):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and output == "done\n", errors  # `run` has returned
    there = drawn(path)
    assert 0 < there < NUM_SAMPLES and there % 20 == 0
    assert f"Interrupted after {there:,} of 990 draws" in errors
    assert_equal(run(NUM_SAMPLES, path), whole(NUM_SAMPLES))


NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
import parallel_mcmc, threading, time, sys
from pathlib import Path

def fill(path):
    "No file may grow any more, as on a full disk, once some windows are there."
    while len(list(Path(path).glob("posterior/a/c/0/*/0"))) < 5:
        time.sleep(0.001)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

threading.Thread(target=fill, args=({path!r},), daemon=True).start()
"""


def test_where_the_disk_is_full_what_is_there_stays(tmp_path, whole):
    pytest.importorskip("resource", reason="needs limits of a POSIX system")
    path = tmp_path / "run.zarr"
    process = start_process(NUM_SAMPLES, path, NO_ROOM.format(path=str(path)))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and output == "ready\n"
    assert "the same call goes on from there" in errors.splitlines()[-1], errors
    there = drawn(path)
    assert 0 < there < NUM_SAMPLES and there % 20 == 0
    assert_equal(run(NUM_SAMPLES, path), whole(NUM_SAMPLES))


def test_two_processes_do_not_write_to_one_store(tmp_path):
    path = tmp_path / "run.zarr"
    process = start_process(NUM_SAMPLES, path)
    assert process.stdout.readline() == "ready\n"
    while not has_grown(path, 0):
        time.sleep(0.01)
    with pytest.raises(pm.StoreError, match="Another process is writing"):
        run(NUM_SAMPLES, path)
    assert process.communicate(timeout=300)[0] == "done\n"
