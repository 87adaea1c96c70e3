"""Records as Markdown: what was aimed at, every run, and iterations per kernel."""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.cells import (
    COLUMNS,
    MORE_COLUMNS,
    auto_cell,
    exponent_cell,
    grouped,
    iterations_cell,
    iterations_of,
    markdown,
    seconds,
)
from benchmarks.effective import peers_table
from benchmarks.gpu_report import (
    equality_table,
    launches_table,
    programs_ran_table,
    programs_table,
)
from benchmarks.posteriors_report import posteriors_table
from benchmarks.records import Record
from benchmarks.scaling_report import scaling_table


def render(records: list[Record]) -> str:
    """All tables of each device, precision and set of versions."""
    parts = []
    for title, group in grouped(records, setting):
        parts.append(f"## {title}")
        for suite, rows in grouped(group, lambda r: r["suite"]):
            tables = [TABLE_OF[suite]] if suite in TABLE_OF else [aims_table, runs_table]
            parts += [table(rows) for table in tables]
    return "\n\n".join(parts)


def setting(r: Record) -> str:
    versions = f"Python {r['python']}, JAX {r['jax']}, parallel_mcmc {r['parallel_mcmc']}"
    return f"{r['device']} ({r['platform']}, {r['cpu_count']} CPUs), {r['dtype']}, {versions}"


def iterations_table(records: list[Record]) -> str:
    """Iterations per kernel and solver; where steps were left to be run one by one, how many."""
    solvers = list(dict.fromkeys(r["solver"] for r in records))
    rows = []
    for (target, kernel, T), group in grouped(records, row_of):
        cells = {r["solver"]: iterations_cell(r) for r in group}
        rows.append([target, kernel, f"{T:,}", *(cells.get(name, "") for name in solvers)])
    return markdown(["target", "kernel", "T", *solvers], rows)


def hard_table(records: list[Record]) -> str:
    """Iterations per kernel and solver beside the exponent, and how `auto` compares."""
    solvers = list(dict.fromkeys(r["solver"] for r in records if r["solver"] != "auto"))
    rows = []
    for (target, kernel, T), group in grouped(records, row_of):
        cells = {r["solver"]: r for r in group}
        best = fewest_iterations(group)
        rows.append([
            target,
            kernel,
            f"{T:,}",
            exponent_cell(group[0]),
            *(iterations_cell(cells[name]) if name in cells else "" for name in solvers),
            "-" if best is None else f"{T / best['iterations']:.0f}",
            "-" if best is None else f"{best['evaluations_per_draw']:.0f}",
            auto_cell(cells["auto"]) if "auto" in cells else "",
        ])  # fmt: skip
    head = (
        "target", "kernel", "T", "exponent", *solvers, "T / fewest", "evaluations per draw", "auto",
    )  # fmt: skip
    return markdown(head, rows)


def memory_table(records: list[Record]) -> str:
    """Megabytes planned per solver, and what a run took, if there was one.

    The plan and its arguments are held against the least: the draws and the randomness.
    """
    ran = ["iterations", "steps run one by one", "MB of the process"]

    def of_the_least(r: Record) -> float:
        inputs = r["bytes_of_inputs"]
        return (r["bytes"] + inputs) / (r["bytes_of_draws"] + inputs)

    def run_cells(r: Record) -> list[str]:
        if "status" not in r:
            return [""] * len(ran)
        return [
            *(COLUMNS[name](r) for name in ran[:2]),
            f"{r['bytes_of_process'] / 1e6:,.0f}",
        ]

    return markdown(
        ["target", "kernel", "T", "solver", "window", "MB", "of which draws", "of the least", *ran],
        [
            [
                r["target"],
                r["kernel"],
                f"{r['T']:,}",
                r["solver"],
                f"{r['window']:,}",
                f"{r['bytes'] / 1e6:,.0f}",
                f"{r['bytes_of_draws'] / 1e6:,.0f}",
                f"{of_the_least(r):.1f}x",
                *run_cells(r),
            ]
            for r in records
        ],
    )


def sweep_table(records: list[Record]) -> str:
    """Exponent and iterations per step size."""
    rows = [
        [
            r["target"],
            r["kernel"],
            f"{r['acceptance_rate']:.2f}",
            exponent_cell(r),
            iterations_of(r, "_deer"),
            iterations_of(r, "_jacobi"),
        ]
        for r in records
    ]
    return markdown(["target", "kernel", "accept", "exponent", "deer", "jacobi"], rows)


def swap_table(records: list[Record]) -> str:
    """Time per draw of each kernel under each class."""
    return markdown(
        ["T", "chains", "sampler", "solver", "iterations", "us per draw", "s", "compile s"],
        [
            [
                f"{r['T']:,}",
                str(r["chains"]),
                r["kernel"],
                r["solver"],
                iterations_of(r),
                f"{r['microseconds_per_draw']:.3g}",
                seconds(r, "seconds"),
                f"{r['compile_seconds']:.1f}",
            ]
            for r in records
        ],
    )


def auto_table(records: list[Record]) -> str:
    """What `auto` chose, and how long it takes beside the sequential loop."""
    rows = [
        [
            *(COLUMNS[name](r) for name in ("target", "kernel", "T")),
            r["choice"].split(":")[0],
            *(COLUMNS[name](r) for name in ("sequential s", "parallel s")),
            f"{r['seconds'] / r['seconds_sequential']:.2f}",
        ]
        for r in records
    ]
    head = ("target", "kernel", "T", "chosen", "sequential s", "auto s", "auto / sequential")
    return markdown(head, rows)


def torture_table(records: list[Record]) -> str:
    """Per kind of recursion: how many combinations came out equal, told of, and wrong."""
    names = ("equal", "told", "wrong_when_told", "silent")
    head = (
        "recursion", "compared", "combinations", "equal", "told", "told, and wrong",
        "wrong in silence",
    )  # fmt: skip
    rows = [
        [target.replace("_", " "), kernel, *counted(group, names)]
        for (target, kernel), group in grouped(records, lambda r: (r["target"], r["kernel"]))
    ]
    return markdown(head, [*rows, ["all", "", *counted(records, names)]])


def counted(records: list[Record], names: Sequence[str]) -> list[str]:
    """Of all chains of the records, how many there are of each kind."""
    numbers = [sum(r["chains"] for r in records)]
    numbers += [sum(r[f"num_{name}"] for r in records) for name in names]
    return [f"{n:,}" for n in numbers]


def constants_table(records: list[Record]) -> str:
    """Iterations of all kernels, and chains unsolved, with each number halved and doubled."""
    found = {(r["target"], r["factor"], r["solver"]): r for r in records}
    solvers = list(dict.fromkeys(r["solver"] for r in records))

    def cell(name: str, factor: float, solver: str) -> str:
        r = found.get((name, factor, solver))
        return f"{r['iterations']:,} ({r['num_unsolved']})" if r else ""

    rows = []
    for name in dict.fromkeys(r["target"] for r in records):
        factors = (1.0, 1.0) if (name, 1.0, solvers[0]) in found else (0.5, 2.0)
        rows.append([name, *(cell(name, factor, s) for s in solvers for factor in factors)])
    head = ["number", *(f"{s}, {change}" for s in solvers for change in ("half", "twice"))]
    return markdown(head, rows)


def warmups_table(records: list[Record]) -> str:
    """Per posterior the critical path of both warm-ups, and whether the draws are right."""
    head = (
        "posterior", "D", "settled", "rounds", "gradients", "one by one", "s", "one by one",
        "R-hat", "worst mean, in standard errors", "worst standard deviation", "least ESS of 4,000",
    )  # fmt: skip
    rows = [
        [
            r["target"],
            str(r["D"]),
            "yes" if r["settled"] else "no, and told",
            str(r["num_rounds"]),
            f"{r['num_gradients']:,}",
            f"{r['num_gradients_one_by_one']:,}",
            f"{r['seconds']:.2f}",
            f"{r['seconds_one_by_one']:.2f}",
            f"{r['rhat']:.2f}",
            f"{r['z_score']:.1f}",
            f"{r['sd_error']:.0%}",
            f"{r['min_ess']:,.0f}",
        ]
        for r in records
    ]
    return markdown(head, rows)


PAPER = (
    "target", "kernel", "T", "chains", "solver", "window", "iterations", "steps run one by one",
    "steps that differ", "least ESS", "in sd", "compile s", "sequential s", "parallel s",
    "MB parallel",
)  # fmt: skip


def reference_table(records: list[Record]) -> str:
    """The paper's code beside ours."""
    rows = [
        [
            *(COLUMNS[name](r) for name in ("target", "kernel", "T")),
            str(r["iterations_reference"]) + ("" if r["converged_reference"] else " (limit)"),
            seconds(r, "seconds_reference"),
            r["solver"],
            iterations_cell(r),
            *(COLUMNS[name](r) for name in ("parallel s", "sequential s")),
            f"{r['seconds_reference'] / r['seconds']:.2g}",
        ]
        for r in records
    ]
    head = (
        "target", "kernel", "T", "its iterations", "its s", "solver", "iterations",
        "s", "sequential s", "its s / s",
    )  # fmt: skip
    return markdown(head, rows)


TABLE_OF: dict[str, Callable[[list[Record]], str]] = {
    "auto": auto_table,
    "blackjax": iterations_table,
    "constants": constants_table,
    "equality": equality_table,
    "hard": hard_table,
    "launches": launches_table,
    "memory": memory_table,
    "paper": lambda records: runs_table(records, PAPER),
    "peers": peers_table,
    "posteriors": posteriors_table,
    "programs": lambda records: (
        programs_ran_table if all("seconds" in r for r in records) else programs_table
    )(records),
    "reference": reference_table,
    "scaling": scaling_table,
    "swap": swap_table,
    "sweep": sweep_table,
    "torture": torture_table,
    "trajectories": iterations_table,
    "warmups": warmups_table,
}
"""Suites with a table of their own; the others have their aims and their runs."""


def row_of(r: Record) -> tuple[str, str, int]:
    return r["target"], r["kernel"], r["T"]


def fewest_iterations(group: list[Record]) -> Record | None:
    solved = [r for r in group if r["status"] == "CONVERGED" and r["iterations"]]
    return min(solved, key=lambda r: r["iterations"], default=None)


def aims_table(records: list[Record]) -> str:
    """Iterations against the aim, per chain: those of `auto` where it ran, else of the best."""

    def chain(r):
        return r["target"], r["kernel"], r["T"], r["seed"]

    with_auto = any(r["solver"] == "auto" for r in records)
    rows = []
    for (target, kernel, T, seed), group in grouped(records, chain):
        best = fewest_iterations(group)
        judged = next((r for r in group if r["solver"] == "auto"), best)
        right = sum(r["num_steps_differ"] == 0 for r in group)
        aim = group[0]["aim"]
        rows.append([
            target,
            kernel,
            f"{T:,}",
            str(seed),
            "-" if aim is None else f"<= {aim}",
            "none converged" if best is None else f"{iterations_of(best)} ({best['solver']})",
            *([auto_cell(judged) if judged else "-"] if with_auto else []),
            "-" if aim is None else "yes" if judged and met(judged, aim) else "no",
            f"{right} of {len(group)}",
        ])  # fmt: skip
    head = ["target", "kernel", "T", "seed", "aim", "iterations (best solver)"]
    return markdown([*head, *(["auto"] if with_auto else []), "met", "right chain"], rows)


def met(r: Record, aim: int) -> bool:
    return r["status"] == "CONVERGED" and r["iterations"] <= aim


def runs_table(records: list[Record], columns: Iterable[str] = COLUMNS) -> str:
    columns = list(columns)
    return markdown(columns, [[MORE_COLUMNS[name](r) for name in columns] for r in records])
