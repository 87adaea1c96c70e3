"""What the benchmarks say is what they measured: differences, records, tables in the documents."""

import json
import sys

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pm
from benchmarks import reference, scaling, sweep
from benchmarks.__main__ import main, result_files
from benchmarks.bias import biases, first_small
from benchmarks.columns import CHAIN, entry, grouped, iterations_cell, markdown, scientific
from benchmarks.compare import differences, num_wrong_steps
from benchmarks.documents import DOCUMENTS, PLACE, with_tables
from benchmarks.judged import gradients_to, is_right, seconds_to, seconds_to_compile
from benchmarks.pivots import fewest_iterations, slowdowns
from benchmarks.records import SINCE, load, part_of, save


def test_differences_are_in_standard_deviations_of_the_sequential_chain():
    reference = np.random.default_rng(0).normal(scale=[1.0, 100.0], size=(1000, 2))
    chain = reference.copy()
    chain[10, 1] += 1.0
    found = differences(chain, reference)
    assert found["num_steps_differ"] == 1
    np.testing.assert_allclose(found["max_difference"], 1.0)
    np.testing.assert_allclose(found["max_difference_sd"], 1 / reference[:, 1].std())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_draw_that_is_not_finite_is_infinitely_far(bad):
    reference = np.random.default_rng(0).normal(size=(1000, 2))
    chain = reference.copy()
    chain[10, 1] = bad
    found = differences(chain, reference)
    assert found["max_difference"] == np.inf
    assert found["num_steps_differ"] == 1


def test_a_step_that_the_kernel_does_not_make_is_counted():
    def logdensity_fn(x):
        return -jnp.sum(x**2) / 2

    algorithm = blackjax.hmc(logdensity_fn, 0.3, jnp.ones(2), 4)
    for transition in (
        pm.from_blackjax(algorithm).at(jnp.zeros(2)),
        pm.hmc(logdensity_fn, 0.3, num_integration_steps=4).at(jnp.zeros(2)),
    ):
        state = transition.init(jnp.zeros(2), jax.random.key(0))
        inputs = transition.draw_inputs(jax.random.split(jax.random.key(1), 20), state)
        draws = pm.run_sequential(transition, state, inputs, lambda state, _: state.position)[1]
        assert num_wrong_steps(transition, state, inputs, draws) == 0
        assert num_wrong_steps(transition, state, inputs, draws.at[-1].add(1.0)) == 1


RUN = {
    "suite": "examples", "target": "banana", "kernel": "HMC", "T": 10, "chains": 1,
    "solver": "deer", "dtype": "float32", "seed": 0, "device": "cpu", "date": "2025-01-31",
}  # fmt: skip


def test_a_run_replaces_its_own_record_and_no_other(tmp_path):
    save(RUN | {"iterations": 5}, tmp_path)
    save(RUN | {"solver": "jacobi", "iterations": 9}, tmp_path)
    path = save(RUN | {"iterations": 4, "residual": float("nan")}, tmp_path)
    save(RUN | {"device": "gpu", "iterations": 3}, tmp_path)
    assert path.name == "examples-cpu.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["solver"], r["iterations"]) for r in records] == [("deer", 4), ("jacobi", 9)]
    assert records[0]["residual"] is None
    assert scientific(None) == "not finite" and entry("residual")(records[0]) == "-"


def test_what_was_measured_with_other_solves_has_a_star():
    rows = [([r["target"]], [r]) for r in (RUN, RUN | {"target": "mixture", "date": SINCE})]
    text = markdown(["target"], rows)
    assert r"| banana \* |" in text and "| mixture |" in text
    note = rf"\* Measured with a version from before {SINCE}: counts of today may differ."
    assert text.endswith(note)
    assert "Measured" not in markdown(["target"], rows[1:])
    assert "Measured" not in markdown(["loop"], [(["8"], [RUN | {"suite": "launches"}])])


def test_a_cell_says_what_was_left_to_run_one_by_one_and_what_differs():
    record = {"iterations": 200, "num_sequential_steps": 0, "num_steps_differ": 0}
    assert iterations_cell(record) == "200"
    assert iterations_cell(record | {"num_sequential_steps": 7}) == "200 + 7"
    assert iterations_cell(record | {"num_frontier_steps": 48}) == "200 [48]"
    assert "3 differ" in iterations_cell(record | {"num_steps_differ": 3})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_tables_in_the_documents_are_those_of_the_records(path):
    text = path.read_text()
    assert PLACE.search(text)
    made = with_tables(text, load(result_files()), load(result_files("gpu/*-nvidia-")))
    assert made == text, "run python -m benchmarks docs"


@pytest.fixture
def ran(tmp_path, capsys):
    """Run a suite: its records, and what `report` makes of them."""

    def run(*arguments):
        main(["run", *arguments, "--out", str(tmp_path)])
        paths = list(tmp_path.glob("*.jsonl"))
        capsys.readouterr()
        main(["report", *map(str, paths)])
        return load(paths), capsys.readouterr().out

    return run


@pytest.mark.slow
def test_one_row_of_the_suite_runs(ran):
    row = "banana/HMC, step 0.5 x 8/10000/deer"
    (record,), report = ran("--part", "examples", "--only", row, "--repeats", "1")
    assert record["status"] == "CONVERGED"
    assert record["num_steps_differ"] == 0
    assert record["iterations"] <= record["aim"] == 107
    assert record["command"].startswith("python -m benchmarks ")
    assert "| banana | HMC, step 0.5 x 8 | 10,000 | 0 | <= 107 |" in report


@pytest.mark.slow
def test_one_row_of_the_paper_runs(ran):
    row = "eight schools, conjugate/Gibbs/10000/deer"
    (record,), report = ran("--part", "paper", "--only", row, "--repeats", "1")
    assert record["status"] == "CONVERGED" and record["num_wrong_steps"] == 0
    assert record["gradients_per_step"] == 0
    assert 100 < record["min_ess"] < 20_000
    assert "| eight schools, conjugate | Gibbs | 10,000 |" in report


def test_without_the_code_of_the_paper_its_suite_is_skipped(tmp_path, capsys):
    main(["run", "--part", "reference", "--reference", str(tmp_path), "--out", str(tmp_path)])
    assert "give --reference, a checkout of the paper's code" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


SCHOOLS = "eight schools, conjugate"
CODE = """
import jax
from tensorflow_probability.substrates.jax import distributions

def seq1d(f, x0, inputs, params, yinit_guess, max_iter, quasi, qmem_efficient):
    jax.config.update("jax_default_matmul_precision", "highest")

    def step(x, u):
        x = f(x, u, params)
        return x, x

    return jax.lax.scan(step, x0, inputs)[1], 7
"""


@pytest.mark.slow
def test_other_code_is_timed_beside_ours_and_leaves_no_trace(ran, tmp_path, monkeypatch):
    folder = tmp_path / "code" / "src"
    folder.mkdir(parents=True)
    (folder / "deer.py").write_text(CODE)
    (folder / "samplers.py").touch()
    monkeypatch.setitem(reference.ROWS, SCHOOLS, (100, reference.ROWS[SCHOOLS][1]))
    row = f"{SCHOOLS}/Gibbs/100/deer"
    path = str(folder.parent)
    (record,), report = ran("--part", "reference", "--reference", path, "--only", row)
    assert record["iterations_reference"] == 7 and record["converged_reference"]
    assert record["status"] == "CONVERGED" and record["num_wrong_steps"] == 0
    assert f"| {SCHOOLS} | Gibbs | 100 | 7 |" in report
    assert jax.config.jax_default_matmul_precision is None
    assert "src.deer" not in sys.modules and "tensorflow_probability" not in sys.modules


@pytest.mark.slow
def test_one_row_of_the_trajectories_runs_in_no_time(ran):
    rows = "--suite", "scaling", "--only", "banana/trajectory/64", "--minutes", "0"
    (record,), report = ran(*rows, "--repeats", "1", "--device", "cpu")
    assert record["solver"] == "block quasi-deer, 1 probe"
    assert record["status"] == "CONVERGED"
    assert record["num_steps_differ"] == 0
    assert record["iterations"] < 16
    assert "| banana | trajectory of length 1.5 | 64 |" in report


@pytest.mark.slow
def test_a_short_sweep_runs_and_is_drawn(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "T", 100)
    monkeypatch.setattr(sweep, "STEPS", [0.01, 0.1])
    records, report = ran("--suite", "hard", "--part", "sweep", "--only", "banana")
    assert [r["target"] for r in records] == ["banana", "banana"]
    for r in records:
        assert 0 < r["iterations_deer"] <= r["iterations_jacobi"] <= 101
        assert r["max_difference_sd_deer"] < 1e-3 and r["max_difference_sd_jacobi"] < 1e-3
    assert "| banana | MALA, step 0.1 |" in report
    sweep.draw_figure(records, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_chains_and_rows_are_scaled(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "AXES", {"chains": (1, 2), "rows": (100, 1_000)})
    monkeypatch.setattr(scaling, "rates", lambda options: scaling.Rates(1e9, 1e9))
    records, report = ran("--suite", "scaling", "--part", "scaling", "--repeats", "1")
    assert [(r["chains"], r["rows"]) for r in records] == [(1, 100), (2, 100), (1, 100), (1, 1_000)]
    for r in records:
        assert r["status"] == "CONVERGED" and r["num_wrong_steps"] == 0
        assert 0 < r["iterations"] < 100
        assert r["floor_scan"] > 0 and 0 < r["seconds_scan"] < r["seconds"]
        assert r["seconds_evaluation_at_once"] > 0
    assert records[-1]["bytes_evaluation"] < records[-1]["bytes_evaluation_at_once"] / 4
    assert "| power of chains |" in report
    scaling.draw_figure(records, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_what_an_effective_sample_size_costs_is_on_the_line_through_both_runs():
    record = {
        "T": 100, "min_ess": 50.0, "gradients": 2_000, "seconds": 4.0, "seconds_quarter": 2.5,
        "seconds_warmup": 1.0, "seconds_cold_warmup": 6.0, "seconds_cold": 8.0,
    }  # fmt: skip
    # 200 draws: 2 s whatever their number, and 0.02 s a draw.
    np.testing.assert_allclose(seconds_to(100, record), 6.0)
    np.testing.assert_allclose(seconds_to(100, record | {"seconds_quarter": 4.1}), 8.0)
    np.testing.assert_allclose(gradients_to(100, record), 4_000)
    np.testing.assert_allclose(seconds_to_compile(record), 9.0)


@pytest.mark.slow
def test_one_row_of_the_peers_runs(ran):
    row = "eight schools/BlackJAX MEADS/64/"
    (record,), report = ran("--suite", "peers", "--only", row, "--repeats", "1")
    assert record["T"] == 64 and record["gradients"] == 64 * 64
    assert 0 < record["min_ess"] < 64 * 64
    assert record["seconds"] < record["seconds_cold"]
    assert "| eight schools | BlackJAX MEADS | 64 | none |" in report


@pytest.mark.slow
def test_two_rows_of_the_swap_run(ran):
    row = "ParallelHMC in pm.MCMC/1000/1/"
    # Rows that are timed in turn belong together, also where time is up after the first.
    records, report = ran("--suite", "peers", "--only", row, "--repeats", "1", "--minutes", "0")
    assert [record["solver"] for record in records] == ["sequential", "jacobi"]
    record = records[-1]
    assert record["status"] == "CONVERGED"
    assert 0 < record["iterations"] < 100
    assert "| 1,000 | 1 | ParallelHMC in pm.MCMC | jacobi |" in report


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_runs(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--device", "gpu"])
    assert "not on a GPU; install jax[cuda12], or leave out" in capsys.readouterr().err


def test_in_the_records_no_chain_is_wrong_and_auto_is_close_to_the_best_of_its_row():
    records = load(result_files())
    for r in [*records, *load(result_files("gpu/"))]:
        if r.get("num_steps_differ"):
            # An accept decision that tied; rounding that adds up where nothing is accepted or
            # rejected, as in mclmc; or that grows where a chain expands, each step being right.
            rounding = max(1e-3, 1e-7 * r.get("rows", 0))  # of a log density, a sum over data
            tied = r["tie_margin"] is not None and r["tie_margin"] < rounding
            small, right = r["max_difference_sd"] < 1e-2, r.get("num_wrong_steps") == 0
            assert tied or small or right, r
    hard = [r for r in records if part_of(r) == "hard"]
    for r in (r for r in hard if r["solver"] == "auto"):
        same = [other for other in hard if all(other[name] == r[name] for name in CHAIN)]
        best = fewest_iterations(same)
        if best is not None:  # else no solver gets there, and there is nothing to be close to
            in_turn = r["iterations"] + r["num_sequential_steps"]  # all steps, if it chose the loop
            assert in_turn <= 1.5 * best["iterations"], r
    for r in (r for r in records if part_of(r) == "posteriors"):
        assert is_right(r) or not all(r["settled"]) or max(r["num_sequential_steps"]), r
    for r in (r for r in records if part_of(r) == "auto"):
        assert r["seconds"] <= 1.2 * r["seconds_sequential"], r


def test_in_the_records_evaluations_take_about_as_long_as_auto_foresees():
    records = [r for r in load(result_files()) if part_of(r) == "widths"]
    groups = [group for _, group in grouped(records, "target", "T")]
    found = [ratios for group in groups for ratios in slowdowns(group).values()]
    assert all(1 / 3 < rule / counted < 3 for counted, rule in found), found
    counted = [ratio for ratio, _ in found]
    assert min(counted) < 1.1 and max(counted) > 40


@pytest.mark.parametrize("suite, num_rows", [("posteriors", 1), ("hard", 2)])
def test_a_real_model_has_one_row_whatever_solver_was_chosen(suite, num_rows, tmp_path):
    row = {"suite": suite, "target": "eight schools", "device": "cpu"}
    for solver in ("deer", "jacobi"):
        path = save(row | {"solver": solver}, tmp_path)
    assert len(load([path])) == num_rows


def test_the_error_of_second_moments_is_that_of_the_worst_and_has_to_stay_small():
    draws = {"a": np.array([[1.0, 3.0], [1.0, 1.0]]), "b": np.array([[0.0, 2.0], [2.0, 0.0]])}
    # Of a^2 the means are 1 and 3 and the variance is 12; of b^2, 2, 2 and 4.
    np.testing.assert_allclose(biases(draws, {"a": 1.0, "b": 2.0}), [0, 1 / 3])
    np.testing.assert_allclose(biases(draws, {"a": 1.0, "b": 4.0}), [1, 1])
    assert first_small(np.array([1.0, 0.001, 0.02, 0.009, 0.001])) == 4
    assert first_small(np.array([0.001, 0.001])) == 1
    assert first_small(np.array([0.001, 0.01])) is None
