"""Records of the suite `scaling` as a table and a figure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.cells import grouped, markdown
from benchmarks.records import Record

MEASURES: dict[str, Callable[[Record], float]] = {
    "solve": lambda r: 1e3 * r["seconds"] / r["iterations"],
    "evaluation": lambda r: 1e3 * r["seconds_evaluation"],
    "at once": lambda r: 1e3 * r.get("seconds_evaluation_at_once", np.nan),
    "its floor": lambda r: 1e3 * r.get("floor_evaluation", np.nan),
    "scan": lambda r: 1e3 * r["seconds_scan"],
    "floor of the scan": lambda r: 1e3 * r["floor_scan"],
    "sequential loop": lambda r: 1e3 * r["seconds_sequential"],
    "MB": lambda r: r["bytes"] / 1e6,
}
"""Milliseconds of an iteration and its parts, and megabytes."""

LABELS = {"T": "steps", "D": "unknowns", "chains": "chains", "rows": "rows of data"}
DRAWN = ("solve", "evaluation", "at once", "its floor", "scan", "floor of the scan")


def scaling_table(records: list[Record]) -> str:
    """Milliseconds per iteration and megabytes, and the powers of the size that they grow with."""
    rows = []
    for axis, group in grouped(records, lambda r: r["axis"]):
        group = sorted(group, key=lambda r: r[axis])
        sizes = [r[axis] for r in group]
        for r in group:
            values = [measure(r) for measure in MEASURES.values()]
            cells = ["-" if np.isnan(value) else f"{value:.3g}" for value in values]
            rows.append([f"{axis} = {r[axis]:,}", str(r["iterations"]), *cells])
        if len(group) > 1:
            powers = [power(sizes, [m(r) for r in group]) for m in MEASURES.values()]
            cells = ["-" if np.isnan(value) else f"{value:.2f}" for value in powers]
            rows.append([f"power of {axis}", "", *cells])
    return markdown(["size", "iterations", *MEASURES], rows)


def power(sizes: list[int], values: list[float]) -> float:
    """The exponent of the power law through the larger half of the sizes, by least squares."""
    measured = [pair for pair in zip(sizes, values, strict=True) if np.isfinite(pair[1])]
    largest = measured[-max(2, (len(measured) + 1) // 2) :]
    return float(np.polyfit(*np.log(largest).T, 1)[0]) if len(largest) > 1 else np.nan


def draw_figure(records: list[Record], path: Path) -> None:
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
            times = [MEASURES[name](r) for r in rows]
            panel.plot([r[axis] for r in rows], times, line, marker=".", label=name)
        panel.set(xlabel=label, xscale="log", yscale="log")
    lines = next(panel.get_lines() for panel in figure.axes if panel.axison)
    figure.legend(handles=lines, loc="outside upper center", ncols=len(DRAWN), fontsize="small")
    figure.supylabel("milliseconds of an iteration and of its parts")
    figure.savefig(path, dpi=120)
