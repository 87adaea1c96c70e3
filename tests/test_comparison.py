"""What is said about a solve and about its sequential counterpart."""

import re
import sys
import time

import numpy as np
import pytest

from parallel_mcmc._cli.comparison import Timed, compare, describe_solve, timed
from parallel_mcmc._core.report import SolveInfo, Status
from parallel_mcmc._mcmc.trace import Trace


def trace_of(draws, status=(0, 0), steps=(0, 0)):
    """Two chains of ``draws``, shape ``(2, T, D)``."""
    info = SolveInfo(
        status=np.array(status),
        num_iterations=np.array([7, 9]),
        num_in_turn=np.array([7, 9]),
        residual=np.array([1e-7, 2e-7]),
        frontier=np.array([50, 50]),
        num_sequential_steps=np.array(steps),
        num_resets=np.zeros(2, int),
        num_limited=np.zeros(2, int),
        num_trembling=np.zeros(2, int),
        num_ties=np.zeros(2, int),
    )
    settings = {"solver": "jacobi", "tol": 1e-6, "window": 50, "max_iterations": 200}
    return Trace({"x": draws, "y": draws[..., 0]}, {}, info, settings)


@pytest.fixture
def draws():
    """Of standard deviations 1 and 100."""
    x = np.random.default_rng(0).normal(size=(2, 50, 2))
    return x / x.std((0, 1)) * [1, 100]


def test_differences_are_in_units_of_the_posterior_sd(draws):
    moved = draws.copy()
    moved[1, 3, 1] += 0.5
    lines = compare(Timed(trace_of(moved), 1, 0), Timed(trace_of(draws), 1, 0))
    assert "5.0e-03 posterior sd" in next(lines)
    assert "Sequential run" in next(lines)


def test_draws_that_differ_are_counted(draws):
    moved = draws.copy()
    moved[0, 10:13] += 1
    lines = list(compare(Timed(trace_of(moved), 1, 0), Timed(trace_of(draws), 1, 0)))
    assert lines[1].startswith("3 of 100 draws differ by more than 0.01")


def test_a_draw_that_is_not_a_number_counts_as_different(draws):
    moved = draws.copy()
    moved[0, 10] = np.nan
    lines = list(compare(Timed(trace_of(moved), 1, 0), Timed(trace_of(draws), 1, 0)))
    assert "nan posterior sd" in lines[0]
    assert lines[1].startswith("1 of 100 draws")


def test_it_is_said_which_run_is_faster(draws):
    fast, slow = Timed(trace_of(draws), 0.5, 3.0), Timed(trace_of(draws), 2.0, 7.0)
    *_, times, verdict, _ = compare(parallel=slow, sequential=fast)
    assert re.match(
        r"Sequential run 0\.5 s \(compilation 3 s\), parallel run 2 s \(compilation 7 s\)", times
    )
    assert verdict.startswith("Here the sequential run is 4.0 times as fast")
    *_, verdict, _ = compare(parallel=fast, sequential=slow)
    assert verdict.startswith("Here the parallel run is 4.0 times as fast")


def test_the_last_line_is_what_was_gained(draws):
    trace = trace_of(draws)
    trace = trace._replace(solve=trace.solve._replace(num_in_turn=np.array([21, 27])))
    *_, gain = compare(Timed(trace, 1, 0), Timed(trace, 1, 0))
    assert gain == (
        "What an accelerator waits for: some 27 evaluations of the kernel one after the other, in "
        "place of 50."
    )


def test_every_chain_has_a_line_and_a_failure_has_a_warning(draws):
    solved = list(describe_solve(trace_of(draws)))
    assert len(solved) == 3
    line = "  chain 0: Solved in parallel: 7 iterations for 50 draws"
    assert solved[1].startswith(line)

    failed = trace_of(draws, (Status.CONVERGED, Status.FINISHED_SEQUENTIALLY), (0, 20))
    lines = list(describe_solve(failed))
    assert lines[1] == solved[1]
    assert "Not solved in parallel: 9 iterations" in lines[2]
    assert lines[2].endswith("20 steps one by one")
    assert lines[3].startswith(
        "Warning: 1 of 2 chains were not solved in parallel; chain 1: the solve stopped after 9 "
    )


def test_the_first_run_counts_as_compilation_and_the_others_are_quiet(draws, capsys):
    calls = []

    def run():
        calls.append(len(calls))
        print("progress", file=sys.stderr)
        time.sleep(0.2 if len(calls) == 1 else 0.01)
        return trace_of(draws)._replace(settings={"call": len(calls)})

    found = timed(run, 50, num_runs=3)
    assert found.trace.settings == {"call": 1}
    assert len(calls) == 4
    assert 0.01 <= found.seconds < 0.2
    assert found.compilation >= 0.2 - found.seconds
    assert capsys.readouterr().err.count("progress") == 1


def test_long_runs_are_timed_once(draws):
    calls = []

    def run():
        calls.append(time.sleep(0.01))
        return trace_of(draws)

    timed(run, 50, num_runs=3, budget=0.005)
    assert len(calls) == 2


def test_a_run_that_was_interrupted_is_not_run_again(draws):
    calls = []

    def run():
        calls.append(time.sleep(0.01))
        return trace_of(draws)

    found = timed(run, 51)
    assert len(calls) == 1
    assert found.seconds >= 0.01 and found.compilation == 0
