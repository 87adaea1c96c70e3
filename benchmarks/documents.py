"""Tables and figures of README and docs, made from the committed records.

A table stands between two comments:

<!-- table: examples -->
| target | ...
<!-- end of table -->
"""

import re
from pathlib import Path

import numpy as np

from benchmarks import pivots, sweep, tables
from benchmarks.columns import table
from benchmarks.records import Record

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("index.md", "benchmarks.md", "performance.md")),
]
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

SUITE_OF = {"short": "examples", "models": "posteriors", "aims": "examples"}
"""Of tables that do not have the name of their suite."""

TABLES = {
    **tables.TABLE_OF,
    # One row per example: Newton on the first seed.
    "short": lambda records: table(
        [r for r in records if r["solver"] == "deer" and r["seed"] == 0], *tables.SHORT
    ),
    "models": tables.models,
    "aims": pivots.aims,
    "defaults": pivots.aims,
    "examples": tables.runs,
}
GPU = "gpu-"
"""Before the name of a suite: its records of a GPU, without those of the host beside it."""

ON_GPU = {"paper": lambda records: table(records, *tables.RATIOS), "peers": tables.samplers}
"""Where there the table is another."""


def of_suite(name: str, records: list[Record]) -> list[Record]:
    return [r for r in records if r["suite"] == name]


def made(name: str, records: list[Record], on_gpu: list[Record]) -> str:
    """The table of that name."""
    suite = name.removeprefix(GPU)
    if suite != name:
        return (TABLES | ON_GPU)[suite](of_suite(suite, on_gpu))
    return TABLES[name](of_suite(SUITE_OF.get(name, name), records))


def with_tables(text: str, records: list[Record], on_gpu: list[Record]) -> str:
    """The document with every table made anew."""
    return PLACE.sub(lambda m: f"{m[1]}{made(m[2], records, on_gpu)}\n{m[3]}", text)


def draw_figures(records: list[Record], folder: Path) -> None:
    sweep.draw_figure(of_suite("sweep", records), folder / "predictability.png")
    draw_scaling(of_suite("scaling", records), folder / "scaling.png")


LABELS = {"T": "steps", "D": "unknowns", "chains": "chains", "rows": "rows of data"}
DRAWN = ("solve", "evaluation", "at once", "its floor", "scan", "floor of the scan")


def draw_scaling(records: list[Record], path: Path) -> None:
    """Milliseconds of an iteration and its parts over each size, a panel per size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    for panel, (axis, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        rows = sorted((r for r in records if r["axis"] == axis), key=lambda r: r[axis])
        if not rows:
            panel.set_axis_off()
            continue
        for name in DRAWN:
            line = "--" if "floor" in name else "-"
            times = np.array([pivots.SCALED[name](r) for r in rows])
            panel.plot([r[axis] for r in rows], times, line, marker=".", label=name)
        panel.set(xlabel=label, xscale="log", yscale="log")
    lines = next(panel.get_lines() for panel in figure.axes if panel.axison)
    figure.legend(handles=lines, loc="outside upper center", ncols=len(DRAWN), fontsize="small")
    figure.supylabel("milliseconds of an iteration and of its parts")
    figure.savefig(path, dpi=120)
