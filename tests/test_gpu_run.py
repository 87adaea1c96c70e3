"""The run on a GPU, dry, on a CPU: what it records, what it leaves out and what it says."""

import itertools

import jax
import pytest

from benchmarks import gpu_run
from benchmarks.__main__ import GPU_PARTS, command_of, main
from benchmarks.equality import KERNELS, MOST_TELLING, SOLVERS, combinations
from benchmarks.pivots import equality_cell, launches
from benchmarks.records import load
from benchmarks.tables import made


@pytest.fixture
def dry_run(tmp_path, monkeypatch, capsys):
    """The records of a run on this CPU, what it said, and what `report` makes of them."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    def run(*arguments):
        main(["gpu", "--device", "cpu", "--out", str(tmp_path), *arguments])
        said, paths = capsys.readouterr().out, sorted(tmp_path.glob("*.jsonl"))
        main(["report", *map(str, paths)])
        return load(paths), said, capsys.readouterr().out

    return run


def test_a_run_of_a_few_seconds_records_what_is_most_telling(dry_run):
    before = jax.config.read("jax_enable_x64")
    records, said, report = dry_run("--minutes", "0.01", "--data", "nowhere")
    first = records[0]
    assert (first["suite"], first["kernel"], first["solver"]) == ("equality", *MOST_TELLING[0])
    assert first["outcome"] == "equal" and first["status"] == "CONVERGED"
    assert first["iterations"] > 0 and first["max_difference_sd"] < 1e-3
    assert first["command"] == "python -m benchmarks gpu --device cpu --minutes 0.01"  # no folder
    assert "| mixture | MALA, step 0.5 | float32 | equal (" in report
    assert "equality: stopped, as its time is up." in said
    assert said.count("skipped, as its time is up.") == len(GPU_PARTS) - 1
    assert jax.config.read("jax_enable_x64") == before


def test_a_record_names_no_folder():
    arguments = ["run", "--out", "a", "--only", "b", "--data=c/d", "--seed", "1"]
    assert command_of(arguments) == "python -m benchmarks run --only b --seed 1"


@pytest.mark.slow
def test_launches_are_timed_with_loops_in_graphs_and_without(dry_run):
    records, _, report = dry_run("--minutes", "0.5", "--only", "launches")
    flags = [r["solver"] for r in records]
    assert flags.count("as by default") == flags.count("loops in graphs") == 8
    by_name = {r["kernel"]: r for r in records}
    waits = {"128 kernels": 1, "a condition": 2, "a loop of two turns": 4}
    assert {name: by_name[name]["waits"] for name in waits} == waits
    assert by_name["32 kernels, length known"]["waits"] == 0
    assert by_name["8 kernels"]["kernels"] < by_name["128 kernels"]["kernels"] / 4
    assert "| by least squares, of one | loops in graphs |" in report


@pytest.mark.slow
def test_programs_are_timed_beside_the_model(dry_run):
    records, said, report = dry_run("--minutes", "0.01", "--only", "programs")
    assert "programs: stopped, as its time is up." in said
    (record,) = records
    assert record["status"] == "CONVERGED" and record["iterations"] > 0
    assert record["seconds"] > 0 and record["seconds_run_model"] > 0
    assert "| ms in all | by the model |" in report


def test_every_solver_meets_every_kernel_that_it_applies_to_in_both_precisions():
    found = [(*pair, dtype) for dtype, pairs in combinations() for pair in pairs]
    expected = {
        (kernel.name, solver, dtype)
        for kernel, dtype in itertools.product(KERNELS.values(), ("float32", "float64"))
        for solver in kernel.solvers
    }
    assert len(found) == len(expected) and set(found) == expected
    assert {solver for _, solver in MOST_TELLING} == set(SOLVERS)
    assert {kernel for kernel, _ in MOST_TELLING} == set(KERNELS)


def test_a_part_that_fails_is_said_and_passed_over(dry_run, monkeypatch):
    def fails(plan, end):
        yield [RECORD]
        raise RuntimeError("no such thing\nat all")

    def runs(plan, end):
        yield [RECORD | {"solver": "jacobi"}]

    monkeypatch.setattr(gpu_run, "PARTS", {"equality": (1, fails), "paper": (1, runs)})
    records, said, _ = dry_run()
    assert [r["solver"] for r in records] == ["deer", "jacobi"]
    assert "equality: ended by RuntimeError: no such thing\n" in said


def test_the_parts_are_those_of_the_command_and_equality_takes_a_third_at_most():
    assert tuple(gpu_run.PARTS) == GPU_PARTS
    assert gpu_run.PARTS["equality"][0] <= sum(share for share, _ in gpu_run.PARTS.values()) / 3


RECORD = {
    "suite": "equality", "target": "mixture", "kernel": "MALA", "T": 100, "chains": 1,
    "solver": "deer", "dtype": "float32", "seed": 0, "outcome": "equal", "iterations": 7,
    "max_difference_sd": 1e-6, "num_steps_differ": 0,
}  # fmt: skip


def test_a_cell_says_whether_a_chain_is_equal_told_of_or_differs():
    assert equality_cell(RECORD) == "equal (7)"
    assert equality_cell(RECORD | {"outcome": "told"}) == "told (7)"
    assert equality_cell(RECORD | {"outcome": "failed"}) == "failed"
    wrong = RECORD | {"num_steps_differ": 3}
    assert equality_cell(wrong | {"outcome": "told"}) == "told, and wrong (7)"
    differs = wrong | {"outcome": "differs"}
    assert equality_cell(differs) == "differs (7)"
    tied = differs | {"first_difference": 12, "tie_margin": 1e-6}
    assert equality_cell(tied) == "differs from step 12, within 1e-06 of a tie (7)"


def test_what_a_kernel_and_a_wait_take_is_found_by_least_squares():
    rows = [
        {
            "solver": "as by default", "kernel": str(kernels), "kernels": kernels, "waits": waits,
            "seconds_turn": 3e-6 * kernels + 15e-6 * waits, "seconds_model": 0.0,
        }
        for kernels, waits in ((10, 1), (100, 1), (40, 2))
    ]  # fmt: skip
    assert "| by least squares, of one | as by default | 3.0 | 15 |" in launches(rows)


def test_of_a_sequential_program_an_iteration_that_was_measured_is_a_step():
    measures = ("kernels", "waits", "bytes_moved", "seconds_model")
    record = {
        "target": "normal", "kernel": "HMC", "T": 100, "solver": "sequential",
        **dict.fromkeys(measures, 0), **{f"{name}_loops": [] for name in measures},
        "iterations": 0, "num_sequential_steps": 100,
        "seconds": 2.4e-3, "seconds_run_model": None, "compile_seconds": 0.4,
    }  # fmt: skip
    assert "| 0 + 100 | 24 | 0 | 2.4 | - | 0.4 |" in made("gpu-programs", [record])


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["gpu", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("JAX runs on a cpu here, not on a GPU; ")
    assert said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.iterdir())
