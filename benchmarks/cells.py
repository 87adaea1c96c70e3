"""Records in words and figures: the cells of a table, and Markdown of its rows."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from benchmarks.records import Record


def iterations_of(r: Record, suffix: str = "") -> str:
    """Iterations, and in brackets the steps made one by one within them."""
    iterations, made = r[f"iterations{suffix}"], r.get(f"num_frontier_steps{suffix}", 0)
    return f"{iterations} [{made:,}]" if made else str(iterations)


def steps_by_hand(r: Record) -> int:
    """Steps made one by one, within the iterations and after them."""
    return r["num_sequential_steps"] + r.get("num_frontier_steps", 0)


def iterations_cell(r: Record) -> str:
    left = f" + {r['num_sequential_steps']}" if r["num_sequential_steps"] else ""
    differ = f" ({r['num_steps_differ']} differ)" if r.get("num_steps_differ") else ""
    return f"{iterations_of(r)}{left}{differ}"


def auto_cell(r: Record) -> str:
    """Iterations, and the solver that `auto` chose."""
    return f"{iterations_cell(r)} ({r['choice'].split(':')[0]})"


def exponent_cell(r: Record) -> str:
    """Nats per step; -inf, which JSON has not, where single steps forget everything."""
    if r["exponent"] is None:
        return "-inf"
    return f"{r['exponent']:.2f} +- {r['exponent_error']:.2f}"


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
    "steps run one by one": lambda r: f"{steps_by_hand(r):,}",
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

MORE_COLUMNS: dict[str, Callable[[Record], str]] = {
    **COLUMNS,
    "chains": lambda r: str(r["chains"]),
    "window": lambda r: f"{r['window']:,}" if r["window"] else "all",
    "least ESS": lambda r: f"{r['min_ess']:,.0f}",
}
"""With those that not every suite records."""


def steps_that_differ(r: Record) -> str:
    """Their number; where the first is an accept decision, how close it was."""
    if r["tie_margin"] is None:
        return str(r["num_steps_differ"])
    margin = f"log ratio within {r['tie_margin']:.0e} of log u"
    return f"{r['num_steps_differ']} from step {r['first_difference']:,} on, {margin}"


def seconds(r: Record, name: str) -> str:
    """Median (least to most)."""
    return f"{r[name]:.3g} ({r[f'{name}_min']:.2g}-{r[f'{name}_max']:.2g})"


def scientific(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"


def megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"


def grouped(records: list[Record], key: Callable) -> list[tuple[Any, list[Record]]]:
    return [(value, list(group)) for value, group in groupby(sorted(records, key=key), key)]


def markdown(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
