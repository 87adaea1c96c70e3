"""Records of what is particular to GPUs as tables: programs, equality, and what launches take."""

import numpy as np

from benchmarks.cells import (
    COLUMNS,
    grouped,
    iterations_cell,
    iterations_of,
    markdown,
    seconds,
)
from benchmarks.records import Record

MEASURES = ("kernels", 1), ("waits", 1), ("bytes_moved", 1e-6), ("seconds_model", 1e6)
"""Names in a record, and the units that they are shown in."""

PROGRAM = "target", "kernel", "T", "solver"
"""Columns that say which it is."""


def programs_table(records: list[Record]) -> str:
    """Per row an iteration, the loops in it in brackets by turn, and what is outside."""
    head = (
        *PROGRAM, "kernels", "waits", "MB", "us by the model",
        "kernels outside", "waits outside", "MB outside", "us outside", "MB temporary", "compile s",
    )  # fmt: skip
    rows = [
        [
            *(COLUMNS[name](r) for name in PROGRAM),
            *(with_loops(r, *measure) for measure in MEASURES),
            *(short(r[f"{name}_outside"] * unit) for name, unit in MEASURES),
            short(r["bytes_temporary"] / 1e6),
            COLUMNS["compile s"](r),
        ]
        for r in records
    ]
    return markdown(head, rows)


def programs_ran_table(records: list[Record]) -> str:
    """An iteration as it was counted and as it was measured, the time outside being shared out.

    Of a sequential chain an iteration is a step.
    """
    head = (
        *PROGRAM, "kernels", "waits", "MB", "iterations",
        "us an iteration", "by the model", "ms in all", "by the model", "compile s",
    )  # fmt: skip
    rows = [
        [
            *(COLUMNS[name](r) for name in PROGRAM),
            *(with_loops(r, *measure) for measure in MEASURES[:3]),
            iterations_cell(r),
            short(1e6 * r["seconds"] / (r["iterations"] or r["T"])),
            with_loops(r, *MEASURES[3]),
            short(1e3 * r["seconds"]),
            "-" if r["seconds_run_model"] is None else short(1e3 * r["seconds_run_model"]),
            COLUMNS["compile s"](r),
        ]
        for r in records
    ]
    return markdown(head, rows)


def samplers_table(records: list[Record]) -> str:
    """One run of each sampler, in seconds."""
    head = (
        "target", "sampler", "chains", "draws", "ESS", "warm-up s", "draws s", "from cold s",
        "ESS a second, with warm-up",
    )  # fmt: skip
    rows = [
        [
            r["target"],
            r["kernel"],
            f"{r['chains']:,}",
            f"{r['T']:,}",
            f"{r['min_ess']:,.0f}",
            seconds(r, "seconds_warmup"),
            seconds(r, "seconds"),
            short(r["seconds_cold_warmup"] + r["seconds_cold"]),
            f"{r['min_ess'] / (r['seconds'] + r['seconds_warmup']):,.0f}",
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


def equality_table(records: list[Record]) -> str:
    """Per kernel and precision what each solver came to, with its iterations."""
    solvers = list(dict.fromkeys(r["solver"] for r in records))
    rows = []
    for (target, kernel, dtype), group in grouped(
        records, lambda r: (r["target"], r["kernel"], r["dtype"])
    ):
        cells = {r["solver"]: equality_cell(r) for r in group}
        rows.append([target, kernel, dtype, *(cells.get(name, "") for name in solvers)])
    return markdown(("target", "kernel", "precision", *solvers), rows)


def equality_cell(r: Record) -> str:
    if r["outcome"] == "failed":
        return "failed"
    wrong = ", and wrong" if r["outcome"] == "told" and r["num_steps_differ"] else ""
    differs = ""
    if r["outcome"] == "differs":
        margin = r.get("tie_margin")
        differs = f" from step {r['first_difference']}" if "first_difference" in r else ""
        differs += f", within {margin:.0e} of a tie" if margin is not None else ""
    return f"{r['outcome']}{wrong}{differs} ({iterations_of(r)})"


def launches_table(records: list[Record]) -> str:
    """A turn of each loop, and at the end what a kernel and a wait take by least squares."""
    head = ("loop", "command buffers", "kernels", "waits", "us a turn", "us by the model")
    rows = []
    for flags, group in grouped(records, lambda r: r["solver"]):
        rows += [
            [
                r["kernel"],
                flags,
                str(r["kernels"]),
                str(r["waits"]),
                short(1e6 * r["seconds_turn"]),
                short(1e6 * r["seconds_model"]),
            ]
            for r in group
        ]
        counts = np.array([[r["kernels"], r["waits"]] for r in group], float)
        seconds = np.array([r["seconds_turn"] for r in group])
        fitted = np.linalg.lstsq(counts, seconds, rcond=None)[0]
        rows.append(["by least squares, of one", flags, *map(short, 1e6 * fitted), "", ""])
    return markdown(head, rows)
