"""Records: one flat dict per run, in JSON files that are written as the runs go."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

import parallel_mcmc

Record = dict[str, Any]
KEY = ("suite", "target", "kernel", "T", "chains", "solver", "window", "dtype", "seed")


def environment() -> Record:
    """Where and with what: the part of a record that all runs of one command share."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "parallel_mcmc": parallel_mcmc.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": num_cpus(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "date": datetime.date.today().isoformat(),
    }


def num_cpus() -> int | None:
    """Those that this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def file_name(record: Record) -> str:
    """The file a record belongs in, such as ``examples-cpu-float32-seed0-2025-01-31.json``."""
    suite, device, dtype, seed, date = (
        record[name] for name in ("suite", "device", "dtype", "seed", "date")
    )
    name = f"{suite}-{device}-{dtype}-seed{seed}-{date}"
    return re.sub(r"[^a-zA-Z0-9.]+", "-", name).lower() + ".json"


def save(record: Record, folder: Path) -> Path:
    """Put a record into its file, in the place of an earlier one of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(record)
    record = {name: finite(value) for name, value in record.items()}
    others = [old for old in load([path]) if any(old.get(k) != record.get(k) for k in KEY)]
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps([*others, record], indent=1, allow_nan=False) + "\n")
    written.replace(path)
    return path


def load(paths: list[Path]) -> list[Record]:
    return [record for path in paths if path.exists() for record in json.loads(path.read_text())]


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
