"""What is wanted to know of a GPU, within a time, the most telling first.

Each part has a share of the time, and what one leaves goes to the next. A part, or a row, that
fails is said and passed over.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import chains, launches, programs
from benchmarks import equality as equalities
from benchmarks.measure import Options, in_a_line, run_rows
from benchmarks.records import Record

ROOT = Path(__file__).resolve().parents[1]

PAPER = (
    "mixture/MALA, step 0.5/100000/quasi-deer, 1",
    "eight schools, conjugate/Gibbs/10000/deer",
    "banana/HMC, step 0.5 x 8/100000/deer",
    "German credit/MALA, step 0.0015/16384/deer",
    "mixture/MALA, step 0.5/100000/deer",
)
HOST = (*PAPER[:3], "German credit/MALA, step 0.0015/1024/deer")
PEERS = "eight schools/NumPyro NUTS/1/", "eight schools/ParallelHMC/1/"


class Plan(NamedTuple):
    """What the command line sets; ``is_dry`` is on a CPU, with small sizes."""

    data: Path
    out: Path
    seed: int
    minutes: float
    is_dry: bool
    only: tuple[str, ...]

    def options(self, suite: str, *only: str) -> Options:
        repeats = 1 if self.is_dry else 3
        return Options(suite, only, self.data, self.seed, repeats, 8.0, 200)


Runs = Generator[list[Record], None, None]


def run_gpu(plan: Plan) -> Iterator[list[Record]]:
    """The records, as they come."""
    begin = time.perf_counter()
    parts = {name: part for name, part in PARTS.items() if name in (plan.only or PARTS)}
    whole, share = sum(share for share, _ in parts.values()), 0.0
    for name, (of_it, run) in parts.items():
        share += of_it / whole
        end = begin + 60 * plan.minutes * share
        if time.perf_counter() >= end:
            print(f"{name}: skipped, as its time is up.", flush=True)
            continue
        yield from until(end, name, run(plan, end))


def until(end: float, name: str, runs: Runs) -> Runs:
    """What comes before its time is up."""
    try:
        for rows in runs:
            yield rows
            if time.perf_counter() >= end:
                print(f"{name}: stopped, as its time is up.", flush=True)
                break
    except ImportError as error:
        print(f"{name}: skipped, {error}", flush=True)
    except Exception as error:  # of whatever kind: the other parts are wanted all the same
        print(f"{name}: ended by {in_a_line(error)}", flush=True)
    finally:
        runs.close()


def each(part: str, rows: Callable, names: Iterable[str], plan: Plan) -> Runs:
    """Rows by themselves, so that one that fails is passed over."""
    for name in names:
        options = plan.options(part, name)
        try:
            yield from run_rows(part, rows(options, part), options)
        except Exception as error:
            print(f"{name}: {in_a_line(error)}", flush=True)


def equality(plan: Plan, end: float) -> Runs:
    options = plan.options("equality")
    yield from run_rows(
        "equality", equalities.rows(options, 100 if plan.is_dry else 1_000), options
    )


def paper(plan: Plan, end: float) -> Runs:
    import arviz  # noqa: F401  at once, rather than after the first row has run

    yield from each("paper", chains.rows, PAPER[1:2] if plan.is_dry else PAPER, plan)


def peers(plan: Plan, end: float) -> Runs:
    from benchmarks import peers as samplers

    yield from each("peers", samplers.rows, PEERS[:1] if plan.is_dry else PEERS, plan)


def host(plan: Plan, end: float) -> Runs:
    """On the CPU, in a process of its own, which writes its records itself."""
    yield from ()
    if plan.is_dry:
        print("host: skipped, as all runs there.", flush=True)
        return
    rows = [word for name in HOST for word in ("--only", name)]
    part = "run", "--suite", "paper", "--part", "paper", "--device", "cpu"
    in_a_process(
        plan, (*part, "--repeats", "2", "--max-seconds", "5", *rows), end, JAX_PLATFORMS="cpu"
    )


def launches_with_and_without(plan: Plan, end: float) -> Runs:
    """XLA reads its flags once, so that those of a second time are of a second process."""
    options = plan.options("launches")
    rows = launches.rows(options, 50 if plan.is_dry else launches.TURNS)
    yield from run_rows("launches", rows, options)
    if not launches.flags_are_set():
        flags = f"{os.environ.get('XLA_FLAGS', '')} {launches.FLAG}".strip()
        on_cpu = ("--device", "cpu") if plan.is_dry else ()
        in_a_process(plan, ("gpu", "--only", "launches", *on_cpu), end, XLA_FLAGS=flags)


def run_programs(plan: Plan, end: float) -> Runs:
    options, most_steps = plan.options("programs"), 100 if plan.is_dry else 1_000_000
    yield from run_rows("programs", programs.each(programs.run_here, options, most_steps), options)


def in_a_process(plan: Plan, command: tuple[str, ...], end: float, **environment: str) -> None:
    """``python -m benchmarks``, ended a little after its time is up."""
    left = end - time.perf_counter()
    where = ("--out", str(plan.out), "--data", str(plan.data), "--seed", str(plan.seed))
    subprocess.run(
        [sys.executable, "-m", "benchmarks", *command, *where, "--minutes", f"{left / 60:.3f}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment,
        timeout=max(30.0, left + 15),
        check=True,
    )


PARTS: dict[str, tuple[float, Callable[[Plan, float], Any]]] = {
    "equality": (33, equality),
    "paper": (25, paper),
    "host": (8, host),
    "peers": (14, peers),
    "launches": (8, launches_with_and_without),
    "programs": (12, run_programs),
}
"""Shares of the time, and what runs in it, to its end."""
