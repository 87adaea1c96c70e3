"""The command line.

python -m benchmarks run --suite paper      every row of a suite, as JSON records
python -m benchmarks gpu --minutes 9        what a GPU is wanted for, the most telling first
python -m benchmarks report                 those records as Markdown tables
python -m benchmarks docs                   tables and figures of README and docs made anew
"""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import suites

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "german_credit_numeric.txt"

GPU_PARTS = "equality", "paper", "host", "peers", "launches", "programs"
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
    parsed.run(parsed)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = whole.add_subparsers(required=True)

    def command(name, function, about, out, **options):
        made = commands.add_parser(
            name, help=about, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )
        made.set_defaults(run=function)
        if out:
            made.add_argument("--out", type=Path, default=HERE / out, help="folder of the records")
            beside = "the numeric German credit table; posteriordb and inference_gym lie beside it"
            made.add_argument("--data", type=Path, default=DATA, help=beside)
            made.add_argument("--seed", type=int, default=0)
        return made

    lines = [
        f"  {suite if suite == part else '':<12}{part:<14}{about}"
        for suite, parts in suites.SUITES.items()
        for part, (_, about) in parts.items()
    ]
    listed = "\n".join(["suites and their parts:", *lines])
    run = command("run", run_suite, "run a suite and write its records", "results", epilog=listed)
    run.add_argument("--suite", default="paper", choices=suites.SUITES, metavar="SUITE")
    run.add_argument("--part", choices=suites.PARTS, metavar="PART", help="of it, this alone")
    run.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="run only rows target/kernel/T/solver that hold NAME, e.g. 10000/deer; repeatable",
    )  # fmt: skip
    reference = "a checkout of the code of arXiv:2508.18413, for its part"
    run.add_argument("--reference", type=Path, help=reference)
    run.add_argument("--float64", action="store_true")
    run.add_argument("--repeats", type=int, default=5, help="timed runs per row")
    seconds = "no further timed run of a row after this"
    run.add_argument("--max-seconds", type=float, default=60, help=seconds)
    run.add_argument("--max-iterations", type=int, default=200)
    minutes = "no further row after this many minutes"
    run.add_argument("--minutes", type=float, default=math.inf, help=minutes)
    run.add_argument("--device", choices=("cpu", "gpu"), help="instead of the one that JAX takes")

    gpu = command("gpu", run_gpu, "measure what a GPU is wanted for in a time", "results/gpu")
    gpu.add_argument("--minutes", type=float, default=9)
    gpu.add_argument("--device", choices=("cpu",), help="a dry run of small sizes")
    part = "this part; repeatable"
    gpu.add_argument("--only", action="append", default=[], choices=GPU_PARTS, help=part)

    report = command("report", print_report, "print records as Markdown", None)
    report.add_argument("paths", type=Path, nargs="*", help="files; all of benchmarks/results")
    command("docs", make_docs, "make the tables in README and docs anew", None)
    return whole


def run_suite(parsed: argparse.Namespace) -> None:
    import jax

    begin = time.perf_counter()
    jax.config.update("jax_enable_x64", parsed.float64)
    take_device(parsed.device, "leave out --device gpu")
    if parsed.suite == "programs":  # before anything asks for devices
        from benchmarks.gpu_programs import prepare

        prepare()
    names = {field: getattr(parsed, field) for field in suites.Options._fields}
    options = suites.Options(**names | {"only": tuple(parsed.only)})
    left = 60 * parsed.minutes - (time.perf_counter() - begin)
    write(suites.run(options, parsed.part), parsed, left)


def run_gpu(parsed: argparse.Namespace) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # room for other processes
    take_device(parsed.device or "gpu", "give --device cpu for a dry run")
    from benchmarks import gpu_run

    only, is_dry = tuple(parsed.only), parsed.device == "cpu"
    plan = gpu_run.Plan(parsed.data, parsed.out, parsed.seed, parsed.minutes, is_dry, only)
    write(gpu_run.run_gpu(plan), parsed)


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
    common = environment() | {"command": command_of(parsed.arguments)}
    for records in rows:
        # Rows that are timed in turn come together, and none of them is lost.
        for record in records:
            path = save(common | record, parsed.out)
            names = (record[key] for key in ("target", "kernel", "T", "solver"))
            said = (f"{key} {shown(record[key])}" for key in SAID if key in record)
            print(*names, *said, path.name, sep=", ", flush=True)
        if time.perf_counter() - begin > seconds:
            print(f"Stopped after {parsed.minutes:g} minutes; further rows were not run.")
            break


def command_of(arguments: list[str]) -> str:
    """As it is recorded, without the folders of one machine."""
    folders = "--out", "--data"
    kept = [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if before not in folders and word.split("=")[0] not in folders
    ]
    return shlex.join(["python", "-m", "benchmarks", *kept])


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def print_report(parsed: argparse.Namespace) -> None:
    from benchmarks.records import load
    from benchmarks.tables import render

    print(render(load(parsed.paths or result_files())))


def make_docs(parsed: argparse.Namespace) -> None:
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
