"""Tables and figures of README and docs, made from the committed records.

A table stands between two comments:

<!-- table: examples -->
| target | ...
<!-- end of table -->
"""

import re
from pathlib import Path

from benchmarks import scaling, sweep
from benchmarks.columns import Records
from benchmarks.tables import GPU, made, of_part

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md"] + [
    ROOT / "docs" / name
    for name in ("index.md", "benchmarks.md", "performance.md", "long-runs.md", "many-devices.md")
]
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(text: str, records: Records, on_gpu: Records) -> str:
    """The document with every table made anew."""

    def place(match: re.Match) -> str:
        begin, name, end = match.groups()
        rows = of_part(name, on_gpu if name.startswith(GPU) else records)
        return f"{begin}{made(name, rows)}\n{end}"

    return PLACE.sub(place, text)


def draw_figures(records: Records, folder: Path) -> None:
    sweep.draw_figure(of_part("sweep", records), folder / "predictability.png")
    scaling.draw_figure(of_part("scaling", records), folder / "scaling.png")
