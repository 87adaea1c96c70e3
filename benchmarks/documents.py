"""Tables in README and docs, each between two comments and made from the committed records.

<!-- table: examples -->
| target | ...
<!-- end of table -->
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.records import Record
from benchmarks.tables import (
    aims_table,
    hard_table,
    iterations_table,
    memory_table,
    posteriordb_table,
    runs_table,
    swap_table,
    sweep_table,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"]
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

SHORT = (
    "target", "kernel", "T", "solver", "iterations", "steps run one by one", "in sd",
    "sequential s", "parallel s",
)  # fmt: skip


def of_suite(name: str, records: list[Record]) -> list[Record]:
    return [r for r in records if r["suite"] == name]


TABLES: dict[str, Callable[[list[Record]], str]] = {
    # One row per example: Newton on the first seed.
    "short": lambda records: runs_table(
        [r for r in of_suite("examples", records) if r["solver"] == "deer" and r["seed"] == 0],
        SHORT,
    ),
    "aims": lambda records: aims_table(of_suite("examples", records)),
    "defaults": lambda records: aims_table(of_suite("defaults", records)),
    "examples": lambda records: runs_table(of_suite("examples", records)),
    "blackjax": lambda records: iterations_table(of_suite("blackjax", records)),
    "hard": lambda records: hard_table(of_suite("hard", records)),
    "memory": lambda records: memory_table(of_suite("memory", records)),
    "sweep": lambda records: sweep_table(of_suite("sweep", records)),
    "posteriordb": lambda records: posteriordb_table(of_suite("posteriordb", records)),
    "swap": lambda records: swap_table(of_suite("swap", records)),
    "trajectories": lambda records: iterations_table(of_suite("trajectories", records)),
}


def with_tables(text: str, records: list[Record]) -> str:
    """The document with every table made anew."""
    return PLACE.sub(lambda m: f"{m[1]}{TABLES[m[2]](records)}\n{m[3]}", text)
