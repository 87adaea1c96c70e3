"""The command line.

python -m benchmarks run --suite examples      every example with every solver, as JSON records
python -m benchmarks gpu --minutes 9           what a GPU is wanted for, the most telling first
python -m benchmarks report                    those records as Markdown tables
python -m benchmarks docs                      tables and figures of README and docs made anew
"""

import argparse
import importlib
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "german_credit_numeric.txt"

SUITES = {
    "examples": "every example with every solver",
    "paper": "every experiment of arXiv:2508.18413",
    "reference": "four of them by the paper's own code, beside ours",
    "peers": "what effective draws cost beside NumPyro and BlackJAX",
    "defaults": "chains of 4,096 steps, and the iterations aimed at",
    "blackjax": "BlackJAX's kernels with every solver",
    "trajectories": "HMC trajectories by their number of leapfrog steps",
    "hard": "hard targets, four kernels, every solver and `auto`",
    "auto": "what `auto` costs on this device beside the loop",
    "memory": "the memory that a million steps are planned in",
    "scaling": "time and memory against T, D, chains and rows of data",
    "sweep": "iterations against the Lyapunov exponent",
    "swap": "NumPyro's HMC and ParallelHMC, per draw",
    "posteriors": "real models: right, and in how many gradients in turn",
    "torture": "recursions that look at the last bit of their state",
    "warmups": "critical path of a warm-up, in parallel and not",
    "bias": "gradients from cold to a small error of second moments",
    "constants": "iterations with the numbers of the solve changed",
    "programs": "what programs cost on a GPU that need not be there",
}
"""Each has a module of its name with a ``run``, or is a table of examples for `runs`."""

PARTS = "equality", "paper", "host", "peers", "launches", "programs"
"""Of the run on a GPU, in this order."""

SAID = (
    "iterations", "status", "outcome", "num_steps_differ", "num_equal", "num_told", "num_silent",
    "num_unsolved", "kernels", "waits", "num_gradients", "sample_gradients", "z_score", "rhat",
    "exponent", "iterations_deer", "iterations_jacobi", "min_ess", "bytes", "seconds_sequential",
    "seconds",
)  # fmt: skip
"""Of a record, as it comes."""


def main(arguments: list[str]) -> None:
    parsed = parser().parse_args(arguments)
    parsed.arguments = arguments
    parsed.command(parsed)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)
    suites = "\n".join(f"  {name:<13}{what}" for name, what in SUITES.items())
    run = commands.add_parser(
        "run", help="run a suite and write its records", epilog=f"suites:\n{suites}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    run.set_defaults(command=run_command)
    run.add_argument("--suite", default="examples", choices=SUITES, metavar="SUITE")
    run.add_argument("--out", type=Path, default=HERE / "results", help="folder of the records")
    run.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="run only rows target/kernel/T/solver that hold NAME, e.g. 10000/deer; repeatable",
    )  # fmt: skip
    run.add_argument(
        "--data", type=Path, default=DATA,
        help="the numeric German credit table, beside which lie posteriordb and inference_gym",
    )  # fmt: skip
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
    take_device(parsed.device, "leave out --device gpu")
    if parsed.suite == "programs":  # before anything asks for devices
        from benchmarks.gpu_programs import prepare

        prepare()
    from benchmarks import runs

    names = {field: getattr(parsed, field) for field in runs.Options._fields if field != "only"}
    options = runs.Options(only=tuple(parsed.only), **names)
    module = runs if parsed.suite in runs.SUITES else importlib.import_module(
        f"benchmarks.{parsed.suite}"
    )  # fmt: skip
    write(module.run(options), parsed, 60 * parsed.minutes - (time.perf_counter() - begin))


def gpu_command(parsed: argparse.Namespace) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # room for other processes
    take_device(parsed.device or "gpu", "give --device cpu for a dry run")
    from benchmarks.gpu_run import Plan, run_gpu

    plan = Plan(
        parsed.data, parsed.out, parsed.seed, parsed.minutes, parsed.device == "cpu",
        tuple(parsed.only),
    )  # fmt: skip
    write(run_gpu(plan), parsed)


def take_device(name: str | None, otherwise: str) -> None:
    import jax

    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif name == "gpu" and jax.default_backend() != "gpu":
        print(
            f"JAX runs on a {jax.default_backend()} here, not on a GPU; install jax[cuda12], or "
            f"{otherwise}.",
            file=sys.stderr,
        )
        raise SystemExit(2)


def write(rows: Iterator, parsed: argparse.Namespace, seconds: float = math.inf) -> None:
    """Save records as they come; after so many seconds no more are waited for."""
    from benchmarks.records import environment, save

    begin = time.perf_counter()
    common = environment() | {
        "command": shlex.join(["python", "-m", "benchmarks", *parsed.arguments])
    }
    for records in rows:
        # Rows that are timed in turn come together, and none of them is lost.
        for record in records if isinstance(records, list) else [records]:
            path = save(common | record, parsed.out)
            names = (record[key] for key in ("target", "kernel", "T", "solver"))
            said = (f"{key} {shown(record[key])}" for key in SAID if key in record)
            print(*names, *said, path.name, sep=", ", flush=True)
        if time.perf_counter() - begin > seconds:
            print(f"Stopped after {parsed.minutes:g} minutes; further rows were not run.")
            break


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def report_command(parsed: argparse.Namespace) -> None:
    from benchmarks.records import load
    from benchmarks.tables import render

    print(render(load(parsed.paths or result_files())))


def docs_command(parsed: argparse.Namespace) -> None:
    from benchmarks.documents import DOCUMENTS, draw_figures, with_tables
    from benchmarks.records import load

    records, on_gpu = load(result_files()), load(result_files("gpu/*-nvidia-"))
    for path in DOCUMENTS:
        path.write_text(with_tables(path.read_text(), records, on_gpu))
    draw_figures(records, HERE.parent / "docs")


def result_files(begin: str = "") -> list[Path]:
    return sorted((HERE / "results").glob(f"{begin}*.jsonl"))


if __name__ == "__main__":
    main(sys.argv[1:])
