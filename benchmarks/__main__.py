"""The command line.

python -m benchmarks run --suite examples      every example with every solver, as JSON records
python -m benchmarks run --suite paper         every experiment of arXiv:2508.18413
python -m benchmarks run --suite reference     four of them by the paper's own code, beside ours
python -m benchmarks run --suite peers         what effective draws cost beside NumPyro and BlackJAX
python -m benchmarks run --suite defaults      chains of 4,096 steps, and the iterations aimed at
python -m benchmarks run --suite blackjax      BlackJAX's kernels with every solver
python -m benchmarks run --suite trajectories  HMC trajectories by their number of leapfrog steps
python -m benchmarks run --suite hard          hard targets, four kernels, every solver and `auto`
python -m benchmarks run --suite auto          what `auto` costs on this device beside the loop
python -m benchmarks run --suite memory        the memory that a million steps are planned in
python -m benchmarks run --suite scaling       time and memory against T, D, chains and rows of data
python -m benchmarks run --suite sweep         iterations against the Lyapunov exponent
python -m benchmarks run --suite swap          NumPyro's HMC and ParallelHMC, per draw
python -m benchmarks run --suite posteriors    real models: right, and in how many gradients in turn
python -m benchmarks run --suite torture       recursions that look at the last bit of their state
python -m benchmarks run --suite warmups       critical path of a warm-up, in parallel and not
python -m benchmarks run --suite constants     iterations with the numbers of the solve changed
python -m benchmarks run --suite programs      what programs cost on a GPU that need not be there
python -m benchmarks gpu --minutes 9           what a GPU is wanted for, the most telling first
python -m benchmarks report                    those records as Markdown tables
python -m benchmarks docs                      tables and figures of README and docs made anew
"""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "german_credit_numeric.txt"


PARTS = "equality", "paper", "host", "peers", "launches", "programs"
"""Of the run on a GPU, in this order."""


def main(arguments: list[str]) -> None:
    parsed = parser().parse_args(arguments)
    parsed.arguments = arguments
    parsed.command(parsed)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("run", help="run a suite and write its records")
    run.set_defaults(command=run_command)
    suites = [
        "examples", "paper", "reference", "peers", "scaling", "defaults", "blackjax", "hard",
        "auto", "trajectories", "memory", "sweep", "swap", "posteriors", "torture",
        "constants", "programs", "warmups",
    ]  # fmt: skip
    run.add_argument("--suite", default="examples", choices=suites)
    run.add_argument("--out", type=Path, default=HERE / "results", help="folder of the records")
    run.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="run only rows target/kernel/T/solver that hold NAME, e.g. 10000/deer; repeatable",
    )
    run.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="the numeric German credit table, beside which lie posteriordb and inference_gym",
    )
    run.add_argument(
        "--reference", type=Path, help="a checkout of the code of arXiv:2508.18413, for its suite"
    )
    run.add_argument("--float64", action="store_true")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--repeats", type=int, default=5, help="timed runs per row")
    run.add_argument(
        "--max-seconds", type=float, default=60, help="no further timed run of a row after this"
    )
    run.add_argument("--max-iterations", type=int, default=200)
    run.add_argument(
        "--minutes", type=float, default=math.inf, help="no further row after this many minutes"
    )
    run.add_argument("--device", choices=("cpu", "gpu"), help="instead of the one that JAX takes")

    gpu = commands.add_parser("gpu", help="measure what a GPU is wanted for, within a time")
    gpu.set_defaults(command=gpu_command)
    gpu.add_argument("--minutes", type=float, default=9)
    gpu.add_argument("--out", type=Path, default=HERE / "results" / "gpu")
    gpu.add_argument("--data", type=Path, default=DATA, help="as of run")
    gpu.add_argument("--seed", type=int, default=0)
    gpu.add_argument("--device", choices=("cpu",), help="a dry run of small sizes")
    gpu.add_argument(
        "--only", action="append", default=[], choices=PARTS, help="this part; repeatable"
    )

    report = commands.add_parser("report", help="print records as Markdown")
    report.set_defaults(command=report_command)
    report.add_argument("paths", type=Path, nargs="*", help="files; all of benchmarks/results")

    docs = commands.add_parser("docs", help="make the tables in README and docs anew")
    docs.set_defaults(command=docs_command)
    return parser


def run_command(parsed: argparse.Namespace) -> None:
    import jax

    begin = time.perf_counter()
    jax.config.update("jax_enable_x64", parsed.float64)
    if parsed.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif parsed.device == "gpu" and jax.default_backend() != "gpu":
        raise SystemExit(
            f"JAX runs on a {jax.default_backend()} here, not on a GPU; install jax[cuda12], or "
            "leave out --device gpu."
        )

    if parsed.suite == "programs":  # before anything asks for devices
        from benchmarks.gpu_programs import prepare

        prepare()

    from benchmarks.constants import run_constants
    from benchmarks.memory import run_memory
    from benchmarks.peers import run_peers
    from benchmarks.posteriors import run_posteriors
    from benchmarks.programs import run_programs
    from benchmarks.reference import run_reference
    from benchmarks.runs import Options, run_suite
    from benchmarks.scaling import run_scaling
    from benchmarks.swap import run_swap
    from benchmarks.sweep import run_sweep
    from benchmarks.torture import run_torture
    from benchmarks.trajectories import run_trajectories
    from benchmarks.warmups import run_warmups

    options = Options(
        suite=parsed.suite,
        only=tuple(parsed.only),
        data=parsed.data,
        seed=parsed.seed,
        repeats=parsed.repeats,
        max_seconds=parsed.max_seconds,
        max_iterations=parsed.max_iterations,
        reference=parsed.reference,
    )
    runs = {
        "trajectories": run_trajectories,
        "memory": run_memory,
        "sweep": run_sweep,
        "reference": run_reference,
        "peers": run_peers,
        "scaling": run_scaling,
        "swap": run_swap,
        "posteriors": run_posteriors,
        "torture": run_torture,
        "constants": run_constants,
        "warmups": run_warmups,
        "programs": run_programs,
    }
    write(runs.get(parsed.suite, run_suite)(options), parsed, 60 * parsed.minutes - spent(begin))


def gpu_command(parsed: argparse.Namespace) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # room for other processes
    import jax

    if parsed.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        print(
            f"JAX runs on a {jax.default_backend()} here, not on a GPU; install jax[cuda12], or "
            "give --device cpu for a dry run.",
            file=sys.stderr,
        )
        raise SystemExit(2)

    from benchmarks.gpu_run import Plan, run_gpu

    plan = Plan(
        parsed.data, parsed.out, parsed.seed, parsed.minutes, parsed.device == "cpu",
        tuple(parsed.only),
    )  # fmt: skip
    write(run_gpu(plan), parsed)


def write(runs: Iterator, parsed: argparse.Namespace, seconds: float = math.inf) -> None:
    """Save records as they come; after so many seconds no more are waited for."""
    from benchmarks.records import environment, save
    from benchmarks.words import found

    begin = time.perf_counter()
    common = environment() | {
        "command": shlex.join(["python", "-m", "benchmarks", *parsed.arguments])
    }
    for rows in runs:
        # Rows that are timed in turn come together, and none of them is lost.
        for record in rows if isinstance(rows, list) else [rows]:
            path = save(common | record, parsed.out)
            print(
                f"{record['target']}, {record['kernel']}, T = {record['T']:,}, "
                f"{record['solver']}: {found(record)} -> {path.name}",
                flush=True,
            )
        if spent(begin) > seconds:
            print(f"Stopped after {parsed.minutes:g} minutes; further rows were not run.")
            break


def spent(begin: float) -> float:
    return time.perf_counter() - begin


def report_command(parsed: argparse.Namespace) -> None:
    from benchmarks.records import load
    from benchmarks.tables import render

    print(render(load(parsed.paths or result_files())))


def docs_command(parsed: argparse.Namespace) -> None:
    from benchmarks import scaling_report, sweep
    from benchmarks.documents import DOCUMENTS, of_suite, with_tables
    from benchmarks.records import load

    records, on_gpu = load(result_files()), load(result_files("gpu/*-nvidia-"))
    for path in DOCUMENTS:
        path.write_text(with_tables(path.read_text(), records, on_gpu))
    docs = HERE.parent / "docs"
    sweep.draw_figure(of_suite("sweep", records), docs / "predictability.png")
    scaling_report.draw_figure(of_suite("scaling", records), docs / "scaling.png")


def result_files(begin: str = "") -> list[Path]:
    return sorted((HERE / "results").glob(f"{begin}*.json"))


if __name__ == "__main__":
    main(sys.argv[1:])
