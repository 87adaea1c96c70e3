"""Records: one flat dict per run, a line each, in a file per suite and device."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

import parallel_mcmc

Record = dict[str, Any]
KEY = "suite", "part", "target", "kernel", "T", "chains", "solver", "window", "dtype", "seed"
"""What tells one run from another; of real models the solver is an outcome."""

NO_JITTER = ", without jitter"
"""Ends the names of models that are run once more to show what jitter is worth."""

SINCE = "2026-11-29T19:52"
"""The last change to what a solve comes to: tables mark what was measured before it."""

JACOBI_SINCE = "2026-11-29T22:32"
"""The last change to what a solve by Jacobi comes to."""

PAIR_SINCE = "2026-11-30T04:06"
"""The same where another solver goes on after Jacobi."""

WARMUP_SINCE = "2026-11-30T11:33"
"""The last change to what a warm-up comes to, or to the draws of HMC after it."""

WITH_WARMUP = "posteriors", "warmups", "bias", "peers"
"""Parts whose records count it."""

WITHOUT_SOLVE = ("launches",)
"""Parts whose records no such change touches."""


def part_of(r: Record) -> str:
    """The part of a suite that a record belongs to; the main part has the name of the suite."""
    return r.get("part") or r.get("suite", "")


def since_of(r: Record) -> str:
    """When what such a record comes to has changed last."""
    part, solver, since = part_of(r), r.get("solver") or "", SINCE
    if "jacobi" in solver:
        since = PAIR_SINCE if "then" in solver else JACOBI_SINCE
    if part in WITH_WARMUP:
        since = max(since, WARMUP_SINCE)
    return "" if part in WITHOUT_SOLVE else since


def is_older(r: Record) -> bool:
    """Whether a record was measured with solves that came to something else than today's."""
    return r.get("date", "") < since_of(r)


def environment() -> Record:
    """Where and with what: the part of a record that all runs of one command share."""
    device = jax.devices()[0]
    affinity = getattr(os, "sched_getaffinity", None)  # the CPUs that this process may use
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "parallel_mcmc": parallel_mcmc.__version__,
        "commit": commit_of(Path(parallel_mcmc.__file__).parent),
        "backend": device.platform,
        "device": device.device_kind,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": len(affinity(0)) if affinity else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
    }


def commit_of(folder: Path) -> str | None:
    """That is checked out there, with a plus where files of the folder have changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = bool(git("status", "--porcelain", "."))
    return git("rev-parse", "--short", "HEAD") + "+" * changed or None


def file_name(record: Record) -> str:
    """The file a record belongs in, such as ``paper-cpu.jsonl``."""
    name = f"{record['suite']}-{record['device']}"
    return re.sub(r"[^a-zA-Z0-9.]+", "-", name).lower().strip("-") + ".jsonl"


def save(record: Record, folder: Path) -> Path:
    """Put a record into its file, in the place of an earlier one of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(record)
    record = {name: finite(value) for name, value in record.items()}
    names = [name for name in KEY if name != "solver" or part_of(record) != "posteriors"]

    def key(r: Record) -> list:
        return [r.get(name) if name != "part" else part_of(r) for name in names]

    records = load([path])
    same = [i for i, old in enumerate(records) if key(old) == key(record)]
    records[slice(same[0], same[0] + 1) if same else slice(len(records), None)] = [record]
    written = path.with_suffix(".tmp")
    written.write_text("".join(json.dumps(r, allow_nan=False) + "\n" for r in records))
    written.replace(path)
    return path


def load(paths: Iterable[Path]) -> list[Record]:
    lines = (line for path in paths if path.exists() for line in path.read_text().splitlines())
    return [json.loads(line) for line in lines]


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
