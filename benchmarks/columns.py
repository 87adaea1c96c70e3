"""Columns of the tables: how an entry of a record is written, by the head of its column."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from benchmarks import judged
from benchmarks.records import Record, is_older, since_of

Records = list[Record]
Cell = Callable[[Record], str]
Column = str | tuple[str, Cell]
Row = tuple[list[str], Records]
"""Its cells, and the records that they are made of."""

CHAIN = "target", "kernel", "T"


def entry(name: str, spec: str = "", unit: float | None = None) -> Cell:
    """One entry of a record, in a unit, as Python formats it; a dash where it is None."""
    return lambda r: (
        "-" if r[name] is None else format(r[name] if unit is None else r[name] * unit, spec)
    )


def median(name: str) -> Cell:
    """Of seconds (least to most)."""
    return lambda r: f"{r[name]:.3g} ({r[f'{name}_min']:.2g}-{r[f'{name}_max']:.2g})"


def of(value: Callable[[Record], float], spec: str = ".3g") -> Cell:
    """A number that is made of entries."""
    return lambda r: format(value(r), spec)


def scientific(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"


def short(value: float) -> str:
    """Whole from ten on, else to a tenth."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def in_short(name: str, unit: float = 1) -> Cell:
    return lambda r: "-" if r[name] is None else short(unit * r[name])


def iterations_of(r: Record, suffix: str = "") -> str:
    """Iterations, and in brackets the steps made one by one within them: in older records."""
    iterations, made = r[f"iterations{suffix}"], r.get(f"num_frontier_steps{suffix}", 0)
    return f"{iterations} [{made:,}]" if made else str(iterations)


def iterations_cell(r: Record) -> str:
    left = f" + {r['num_sequential_steps']}" if r["num_sequential_steps"] else ""
    differ = f" ({r['num_steps_differ']} differ)" if r.get("num_steps_differ") else ""
    return f"{iterations_of(r)}{left}{differ}"


def auto_cell(r: Record) -> str:
    """Iterations, and the solver that `auto` chose."""
    return f"{iterations_cell(r)} ({COLUMNS['chosen'](r)})"


def exponent_cell(r: Record) -> str:
    """Nats per step; -inf, which JSON has not, where single steps forget everything."""
    if r["exponent"] is None:
        return "-inf"
    return f"{r['exponent']:.2f} +- {r['exponent_error']:.2f}"


def steps_that_differ(r: Record) -> str:
    """Their number; where the first is an accept decision, how close it was."""
    if r["tie_margin"] is None:
        return str(r["num_steps_differ"])
    margin = f"log ratio within {r['tie_margin']:.0e} of log u"
    return f"{r['num_steps_differ']} from step {r['first_difference']:,} on, {margin}"


def with_loops(name: str, unit: float) -> Cell:
    """Of an iteration, and in brackets of a turn of each loop in it."""

    def cell(r: Record) -> str:
        loops = [short(unit * value) for value in r[f"{name}_loops"]]
        return short(unit * r[name]) + (f" [{', '.join(loops)}]" if loops else "")

    return cell


def low_to_high(name: str) -> Cell:
    """Of an entry that has one number per chain."""
    return lambda r: " to ".join(str(n) for n in sorted({min(r[name]), max(r[name])}))


COLUMNS: dict[str, Cell] = {
    "target": entry("target"),
    "model": lambda r: r["target"].replace("_", " "),
    "kernel": entry("kernel"),
    "sampler": entry("kernel"),
    "T": entry("T", ","),
    "D": entry("D"),
    "unknowns": entry("D"),
    "chains": entry("chains", ","),
    "solver": entry("solver"),
    "seed": entry("seed"),
    "precision": entry("dtype"),
    "window": lambda r: f"{r['window']:,}" if r["window"] else "all",
    "accept": entry("accept_rate", ".2f"),
    "exponent": exponent_cell,
    "iterations": entry("iterations"),
    "residual": lambda r: scientific(r["residual"]),
    "status": lambda r: r["status"].lower().replace("_", " "),
    "steps run one by one": lambda r: (
        f"{r['num_sequential_steps'] + r.get('num_frontier_steps', 0):,}"
    ),
    "largest difference": lambda r: scientific(r["max_difference"]),
    "in sd": lambda r: scientific(r["max_difference_sd"]),
    "steps that differ": steps_that_differ,
    "least ESS": entry("min_ess", ",.0f"),
    "compile s": entry("compile_seconds", ".1f"),
    "sequential s": median("seconds_sequential"),
    "parallel s": median("seconds"),
    "ratio": entry("ratio", ".2g"),
    "MB sequential": entry("bytes_sequential", ".1f", 1e-6),
    "MB parallel": entry("bytes", ".1f", 1e-6),
    "chosen": lambda r: r["choice"].split(":")[0],
    "R-hat": entry("rhat", ".2f"),
    "gradients": entry("num_gradients", ","),
    "leapfrogs": entry("leapfrogs"),
    "kernels": with_loops("kernels", 1),
    "waits": with_loops("waits", 1),
    "MB": with_loops("bytes_moved", 1e-6),
    "NUTS / ours": judged.ratio_cell,
    "outcome": judged.outcome_of,
}
"""Those with a name in common. The ratio is sequential over parallel time."""


def table(records: Iterable[Record], *columns: Column) -> str:
    """A row per record; a column is named, or comes with its cells."""
    named = [(c, COLUMNS[c]) if isinstance(c, str) else c for c in columns]
    rows = [([cell(r) for _, cell in named], [r]) for r in records]
    return markdown([head for head, _ in named], rows)


def grouped(records: Iterable[Record], *names: str) -> list[tuple[Any, Records]]:
    """Those that are equal in these entries, sorted by them."""

    def key(r: Record) -> tuple:
        return tuple(r[name] for name in names)

    return [(value, list(group)) for value, group in groupby(sorted(records, key=key), key)]


def markdown(head: Iterable[str], rows: Iterable[Row]) -> str:
    """With a star where a row is of records from before the last change of what they count."""
    head = list(head)
    lines, starred = [head, ["---"] * len(head)], []
    for (first, *others), records in rows:
        older = [r for r in records if is_older(r)]
        lines.append([first + r" \*" * bool(older), *others])
        starred += older
    since = max(map(since_of, starred), default="")
    note = rf"\* Measured with a version from before {since}: counts of today may differ."
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return text + f"\n\n{note}" * bool(starred)
