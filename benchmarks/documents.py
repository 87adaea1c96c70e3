"""Tables in README and docs, each between two comments and made from the committed records.

<!-- table: examples -->
| target | ...
<!-- end of table -->
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu_report import samplers_table
from benchmarks.posteriors_report import short_table
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
    "models": lambda records: short_table(of_suite("posteriors", records)),
    "aims": lambda records: aims_table(of_suite("examples", records)),
    "defaults": lambda records: aims_table(of_suite("defaults", records)),
    "examples": lambda records: runs_table(of_suite("examples", records)),
    **{
        suite: lambda records, suite=suite: TABLE_OF[suite](of_suite(suite, records))
        for suite in TABLE_OF
    },
}


GPU = "gpu-"
"""Before the name of a suite: its records of a GPU, without those of the host beside it."""

RATIOS = (
    "target", "kernel", "T", "chains", "solver", "iterations", "compile s", "sequential s",
    "parallel s", "ratio",
)  # fmt: skip

TABLES |= {
    f"{GPU}{suite}": lambda records, table=table, suite=suite: table(of_suite(suite, records))
    for suite, table in (
        TABLE_OF | {"paper": lambda rows: runs_table(rows, RATIOS), "peers": samplers_table}
    ).items()
}


def with_tables(text: str, records: list[Record], on_gpu: list[Record]) -> str:
    """The document with every table made anew."""

    def table(match: re.Match) -> str:
        begin, name, end = match.groups()
        of_table = on_gpu if name.startswith(GPU) else records
        return f"{begin}{TABLES[name](of_table)}\n{end}"

    return PLACE.sub(table, text)
