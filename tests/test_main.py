"""The command line: what it prints, what it writes, and how it fails."""

import contextlib
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import xarray

from parallel_mcmc import __main__ as command_line
from parallel_mcmc import targets
from parallel_mcmc.__main__ import main

PNG = b"\x89PNG\r\n\x1a\n"


def group(path, name="posterior"):
    return xarray.load_dataset(path, group=name, engine="h5netcdf")


@pytest.fixture(scope="module")
def eight_schools(tmp_path_factory):
    """The main job as it is without options: the folder that it makes, and its report."""
    folder = tmp_path_factory.mktemp("main") / "made" / "here"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main(["--output", str(folder)])
    return folder, out.getvalue()


def test_eight_schools_come_out_right(eight_schools):
    folder, _ = eight_schools
    draws = group(folder / "eight-schools.nc")
    assert draws["theta"].shape == (4, 1000, 8)
    # Within five Monte Carlo errors, at about 1,500 effective draws, of a run of 400,000.
    assert float(draws["mu"].mean()) == pytest.approx(4.4, abs=0.45)
    assert float(draws["mu"].std()) == pytest.approx(3.3, abs=0.35)
    assert float(draws["tau"].mean()) == pytest.approx(3.6, abs=0.45)
    assert float(draws["theta"].mean(("chain", "draw"))[0]) == pytest.approx(6.2, abs=0.8)
    for name in ("mu", "tau"):
        between = draws[name].mean("draw").var("chain", ddof=1)
        within = draws[name].var("draw", ddof=1).mean()
        assert float(1 + between / within) < 1.02**2, "R-hat"


def test_the_file_holds_statistics_and_the_report(eight_schools):
    folder, _ = eight_schools
    attrs = group(folder / "eight-schools.nc").attrs
    assert attrs["solver"] == "jacobi"
    assert list(attrs["solve_status"]) == ["converged"] * 4
    assert max(attrs["solve_iterations"]) < 120
    stats = group(folder / "eight-schools.nc", "sample_stats")
    assert {"lp", "acceptance_rate", "diverging", "energy", "n_steps"} <= set(stats)
    assert 0.8 < float(stats["acceptance_rate"].mean()) < 1
    assert stats["diverging"].mean() < 0.01


def test_there_is_a_trace_plot(eight_schools):
    content = (eight_schools[0] / "eight-schools-trace.png").read_bytes()
    assert content.startswith(PNG)
    assert len(content) > 20_000
    assert len(list(eight_schools[0].iterdir())) == 2


def test_the_report_says_how_the_chains_were_solved(eight_schools):
    _, report = eight_schools
    assert re.search(r"^theta\[7\] ", report, re.MULTILINE), "the summary"
    chains = re.findall(
        r"chain \d: Solved in parallel: (\d+) iterations for 1,000 draws$",
        report,
        re.MULTILINE,
    )
    assert len(chains) == 4
    assert all(10 < int(iterations) < 120 for iterations in chains)
    difference = re.search(r"Largest difference to the sequential chain: (\S+) posterior", report)
    assert 0 <= float(difference[1]) < 1e-2  # float32
    times = re.search(r"Sequential run (\S+) s \(compilation \S+ s\), parallel run (\S+) s", report)
    assert all(0 < float(seconds) < 60 for seconds in times.groups())
    assert re.search(r"Here the \w+ run is \S+ times as fast", report)
    gain = re.search(r"waits for: some (\d+) evaluations .* in place of 1,000\.", report)
    assert 10 < int(gain[1]) < 500
    assert "Warning" not in report


@pytest.fixture
def german_credit(tmp_path, monkeypatch):
    """A small table of that form, at home in a file."""
    rng = np.random.default_rng(0)
    table = rng.integers(1, 5, (60, 25))
    table[:, -1] = 1 + (rng.random(60) < 0.3)
    path = tmp_path / "german.data-numeric"
    np.savetxt(path, table, fmt="%d")
    monkeypatch.setattr(targets, "GERMAN_CREDIT_URL", path.as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.mark.slow
def test_a_solve_that_does_not_converge_is_a_line_of_the_report(german_credit, tmp_path, capsys):
    # Picard iterations of a chain that contracts go astray behind the frontier, and solve little
    # more than one step each, up to 200. The table is downloaded on the way.
    main(
        "--target german-credit --kernel mala --solver picard --draws 600 --window 600 "
        f"--chains 1 --warmup 20 --output {tmp_path}".split()
    )
    out, err = capsys.readouterr()
    line = r"chain 0: Not solved in parallel: 200 iterations for 600 draws.* steps one by one"
    assert re.search(line, out)
    assert re.search(r"^Warning: the solve stopped after 200 iterations", out, re.MULTILINE)
    assert "Traceback" not in err
    assert "ConvergenceWarning" not in err
    assert group(tmp_path / "german-credit.nc")["beta"].shape == (1, 600, 25)
    assert (tmp_path / "cache" / "parallel_mcmc" / "german.data-numeric").exists()


@pytest.mark.slow
def test_mala_in_double_precision(tmp_path, capsys):
    main(
        "--target mixture --kernel mala --float64 --draws 100 --chains 2 --warmup 100 --progress "
        f"--seed 3 --output {tmp_path}".split()
    )
    out, err = capsys.readouterr()
    draws = group(tmp_path / "mixture.nc")["x"]
    assert draws.dtype == np.float64
    assert draws.shape == (2, 100, 2)
    difference = re.search(r"sequential chain: (\S+) posterior", out)
    assert float(difference[1]) < 1e-6
    (progress,) = [line for line in err.split("\n") if "draw/s" in line]
    assert "200/200" in progress.split("\r")[-1], "one progress bar, which comes to its end"
    assert not np.array_equal(draws[0], draws[1])


@pytest.mark.slow
def test_nuts_of_blackjax_step_by_step(tmp_path, capsys):
    main(
        "--target banana --kernel nuts --solver sequential --draws 50 --warmup 50 "
        f"--chains 2 --output {tmp_path}".split()
    )
    out, _ = capsys.readouterr()
    assert "Solved by sequential" in out
    assert "chain 1: Run step by step: 50 draws" in out
    assert "difference" not in out, "there is nothing to compare with"
    assert float(group(tmp_path / "banana.nc", "sample_stats")["tree_depth"].max()) > 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--target nowhere", "--target: invalid choice: 'nowhere'"),
        ("--kernel gibs", "--kernel: invalid choice: 'gibs'"),
        ("--solver newton", "--solver: invalid choice: 'newton'"),
        ("--draws many", "--draws: 'many' is not a whole number from 4 on"),
        ("--draws 3", "--draws: '3' is not a whole number from 4 on"),
        ("--warmup 0", "--warmup: '0' is not a whole number from 20 on"),
        ("--chains 0", "--chains: '0' is not a whole number from 1 on"),
        ("--window 0", "--window: '0' is not a whole number from 1 on"),
        ("--seed 1.5", "--seed: '1.5' is not a whole number from 0 on"),
        ("--seed 99999999999", "--seed: '99999999999' is more than 4294967295, the largest seed"),
        ("--draws 5000000000", "--draws: '5000000000' is more than 2147483647, as many as can be"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
        ("--data table", "--data goes with --target german-credit"),
        (
            "--target german-credit --data {folder}/none",
            "No such file or directory: '{folder}/none'",
        ),
        ("--target german-credit --data {folder}", "Is a directory: '{folder}'"),
        ("--target german-credit --data {folder}/text", "{folder}/text is not the numeric German"),
        ("--output {folder}/text", "File exists: '{folder}/text'"),
        ("--output {folder}/text/below", "Not a directory: '{folder}/text/below'"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, words, tmp_path, capsys):
    (tmp_path / "text").write_text("no table")
    with pytest.raises(SystemExit) as stopped:
        main(arguments.format(folder=tmp_path).split())
    code = stopped.value.code
    # Python itself prints a code that is a sentence, and exits with 1.
    said = capsys.readouterr().err if isinstance(code, int) else f"{code}\n"
    assert code
    assert said.count("\n") == 1
    assert said.startswith("parallel_mcmc: ")
    assert words.format(folder=tmp_path) in said


def test_a_download_that_fails_names_the_option_that_helps(german_credit, tmp_path):
    german_credit.unlink()
    with pytest.raises(SystemExit) as stopped:
        main(f"--target german-credit --output {tmp_path}".split())
    assert german_credit.as_uri() in stopped.value.code
    assert "--data" in stopped.value.code
    assert "\n" not in stopped.value.code


SHORT = ["--draws=20", "--warmup=20", "--chains=2", "--solver=sequential"]


def in_a_shell(folder, *arguments, python=("-m", "parallel_mcmc"), **options):
    """A run in a process of its own, in a folder."""
    return subprocess.run(
        [sys.executable, *python, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
        **{"stdout": subprocess.PIPE} | options,
    )


def test_in_a_shell_a_failure_is_one_line_and_a_code(tmp_path):
    found = in_a_shell(tmp_path, "--target", "german-credit", "--data", "nothing")
    assert found.returncode == 1
    assert found.stderr == "parallel_mcmc: [Errno 2] No such file or directory: 'nothing'\n"
    assert found.stdout == ""
    assert list(tmp_path.iterdir()) == []


# After 2 kB of a file writing fails, as on a full disk. Smaller than any of the files, and of
# this process alone; Python ignores the signal that comes with it.
ON_A_FULL_DISK = """
import resource
from parallel_mcmc.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
main()
"""


def test_a_full_disk_is_one_line_and_leaves_the_earlier_files(tmp_path):
    pytest.importorskip("resource", reason="Windows has no such limits")
    earlier = {"eight-schools.nc": "draws", "eight-schools-trace.png": "plot"}
    for name, content in earlier.items():
        (tmp_path / name).write_text(content)
    found = in_a_shell(tmp_path, *SHORT, python=("-c", ON_A_FULL_DISK))
    assert found.returncode == 1
    assert found.stderr.startswith("parallel_mcmc: eight-schools.nc and eight-schools-trace.png")
    assert "File too large" in found.stderr and "--output" in found.stderr
    assert found.stderr.count("\n") == 1
    assert "Solved by sequential" in found.stdout, "the report is there all the same"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == earlier


def test_a_plot_that_cannot_be_written_keeps_both_earlier_files(tmp_path, monkeypatch):
    def fails(data, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command_line, "plot_trace", fails)
    (tmp_path / "eight-schools.nc").write_text("draws")
    with pytest.raises(SystemExit, match="No space left"):
        main([*SHORT, "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["eight-schools.nc"]
    assert (tmp_path / "eight-schools.nc").read_text() == "draws"


def test_a_reader_that_leaves_ends_the_printing_and_not_the_run(tmp_path):
    # As `| head -1` once it has its line; here it is gone from the beginning.
    reader, writer = os.pipe()
    os.close(reader)
    found = in_a_shell(tmp_path, *SHORT, stdout=writer)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, "")
    assert len(list(tmp_path.iterdir())) == 2


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
    def sample(*args, **kwargs):
        raise MemoryError("The device has too little memory; give a shorter `window`.")

    monkeypatch.setattr(command_line.pm, "sample", sample)
    with pytest.raises(SystemExit) as stopped:
        main([*SHORT, "--output", str(tmp_path)])
    assert stopped.value.code.startswith("parallel_mcmc: The device has too little memory")
