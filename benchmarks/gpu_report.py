"""Records of what is particular to GPUs as tables: programs, equality, and what launches take."""

from benchmarks.cells import markdown
from benchmarks.records import Record

MEASURES = ("kernels", 1), ("waits", 1), ("bytes_moved", 1e-6), ("seconds_model", 1e6)
"""Names in a record, and the units that they are shown in."""


def programs_table(records: list[Record]) -> str:
    """Per row an iteration, the loops in it in brackets by turn, and what is outside."""
    head = (
        "target", "kernel", "T", "solver", "kernels", "waits", "MB", "us by the model",
        "kernels outside", "waits outside", "MB outside", "us outside", "MB temporary", "compile s",
    )  # fmt: skip
    rows = [
        [
            r["target"],
            r["kernel"],
            f"{r['T']:,}",
            r["solver"],
            *(with_loops(r, *measure) for measure in MEASURES),
            *(short(r[f"{name}_outside"] * unit) for name, unit in MEASURES),
            short(r["bytes_temporary"] / 1e6),
            f"{r['compile_seconds']:.1f}",
        ]
        for r in records
    ]
    return markdown(head, rows)


def with_loops(r: Record, name: str, unit: float) -> str:
    """Of an iteration, and in brackets of a turn of each loop in it."""
    loops = [short(unit * value) for value in r[f"{name}_loops"]]
    return short(unit * r[name]) + (f" [{', '.join(loops)}]" if loops else "")


def short(value: float) -> str:
    """Whole from ten on, else to a tenth."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
