"""Records as Markdown: what was aimed at, and every run."""

from collections.abc import Callable, Iterable
from itertools import groupby

from benchmarks.records import Record


def render(records: list[Record]) -> str:
    """Two tables per device and precision."""

    def setting(r):
        versions = f"Python {r['python']}, JAX {r['jax']}, parallel_mcmc {r['parallel_mcmc']}"
        return f"{r['device']} ({r['platform']}, {r['cpu_count']} CPUs), {r['dtype']}, {versions}"

    parts = []
    for title, group in groupby(sorted(records, key=setting), setting):
        rows = list(group)
        parts += [f"## {title}", aims_table(rows), runs_table(rows)]
    return "\n\n".join(parts)


def aims_table(records: list[Record]) -> str:
    """Iterations of the best solver against the aim, per chain."""

    def chain(r):
        return r["target"], r["T"], r["seed"]

    rows = []
    for (target, T, seed), group in groupby(sorted(records, key=chain), chain):
        group = list(group)
        solved = [r for r in group if r["status"] == "CONVERGED"]
        best = min(solved, key=lambda r: r["iterations"], default=None)
        right = sum(r["num_steps_differ"] == 0 for r in group)
        aim = group[0]["aim"]
        rows.append([
            target,
            f"{T:,}",
            str(seed),
            "-" if aim is None else f"<= {aim}",
            "none converged" if best is None else f"{best['iterations']} ({best['solver']})",
            "-" if aim is None else "yes" if best and best["iterations"] <= aim else "no",
            f"{right} of {len(group)}",
        ])  # fmt: skip
    head = ["target", "T", "seed", "aim", "iterations (best solver)", "met", "right chain"]
    return markdown(head, rows)


COLUMNS: dict[str, Callable[[Record], str]] = {
    "target": lambda r: r["target"],
    "kernel": lambda r: r["kernel"],
    "T": lambda r: f"{r['T']:,}",
    "D": lambda r: str(r["D"]),
    "solver": lambda r: r["solver"],
    "seed": lambda r: str(r["seed"]),
    "accept": lambda r: f"{r['accept_rate']:.2f}",
    "iterations": lambda r: str(r["iterations"]),
    "residual": lambda r: scientific(r["residual"]),
    "status": lambda r: r["status"].lower().replace("_", " "),
    "steps run one by one": lambda r: f"{r['num_sequential_steps']:,}",
    "largest difference": lambda r: scientific(r["max_difference"]),
    "in sd": lambda r: scientific(r["max_difference_sd"]),
    "steps that differ": lambda r: steps_that_differ(r),
    "compile s": lambda r: f"{r['compile_seconds']:.1f}",
    "sequential s": lambda r: seconds(r, "seconds_sequential"),
    "parallel s": lambda r: seconds(r, "seconds"),
    "ratio": lambda r: f"{r['ratio']:.2g}",
    "MB sequential": lambda r: megabytes(r["bytes_sequential"]),
    "MB parallel": lambda r: megabytes(r["bytes"]),
}
"""Columns of the table of runs, from a record. The ratio is sequential over parallel time."""


def runs_table(records: list[Record]) -> str:
    return markdown(COLUMNS, [[cell(r) for cell in COLUMNS.values()] for r in records])


def steps_that_differ(r: Record) -> str:
    if r["first_tip"] is None:
        return str(r["num_steps_differ"])
    return f"{r['num_steps_differ']} (decision {r['first_tip']} tied within {r['tip_margin']:.0e})"


def seconds(r: Record, name: str) -> str:
    """Median (least to most)."""
    return f"{r[name]:.3g} ({r[f'{name}_min']:.2g}-{r[f'{name}_max']:.2g})"


def scientific(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"


def megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"


def markdown(head: Iterable[str], rows: list[list[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
