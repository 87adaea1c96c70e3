"""Tables in README and docs, each between two comments and made from the committed records.

<!-- table: examples -->
| target | ...
<!-- end of table -->
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.records import Record
from benchmarks.tables import TABLE_OF, aims_table, runs_table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("index.md", "benchmarks.md", "performance.md")),
]
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
    **{
        suite: lambda records, suite=suite: TABLE_OF[suite](of_suite(suite, records))
        for suite in TABLE_OF
    },
}


def with_tables(text: str, records: list[Record]) -> str:
    """The document with every table made anew."""
    return PLACE.sub(lambda m: f"{m[1]}{TABLES[m[2]](records)}\n{m[3]}", text)
