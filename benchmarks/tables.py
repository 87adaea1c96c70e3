"""The tables, by suite: which columns they have, and those that are more than a row per record."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.columns import (
    COLUMNS,
    Cell,
    auto_cell,
    entry,
    exponent_cell,
    grouped,
    in_short,
    iterations_cell,
    iterations_of,
    markdown,
    median,
    short,
    table,
    with_loops,
)
from benchmarks.judged import gradients_to, path_ratio, seconds_to, seconds_to_compile
from benchmarks.records import Record

Records = list[Record]

CHAIN = "target", "kernel", "T"
PROGRAM = (*CHAIN, "solver")

RUNS = (
    *CHAIN, "D", "solver", "seed", "accept", "iterations", "residual", "status",
    "steps run one by one", "largest difference", "in sd", "steps that differ", "compile s",
    "sequential s", "parallel s", "ratio", "MB sequential", "MB parallel",
)  # fmt: skip
SHORT = (
    *PROGRAM, "iterations", "steps run one by one", "in sd", "sequential s", "parallel s",
)  # fmt: skip
PAPER = (
    *CHAIN, "chains", "solver", "seed", "window", "iterations", "steps run one by one",
    "steps that differ", "least ESS", "in sd", "compile s", "sequential s", "parallel s",
    "MB parallel",
)  # fmt: skip
RATIOS = (
    *CHAIN, "chains", "solver", "iterations", "compile s", "sequential s", "parallel s", "ratio",
)  # fmt: skip


def render(records: Records) -> str:
    """All tables of each device, precision and set of versions."""
    settings = "device", "platform", "cpu_count", "dtype", "python", "jax", "parallel_mcmc"
    parts = []
    for (device, platform, cpus, dtype, python, jax, ours), group in grouped(records, *settings):
        versions = f"Python {python}, JAX {jax}, parallel_mcmc {ours}"
        parts.append(f"## {device} ({platform}, {cpus} CPUs), {dtype}, {versions}")
        for (suite,), rows in grouped(group, "suite"):
            parts += [TABLE_OF[suite](rows)] if suite in TABLE_OF else [aims(rows), runs(rows)]
    return "\n\n".join(parts)


def runs(records: Records) -> str:
    return table(records, *RUNS)


def solvers_of(records: Records) -> list[str]:
    return list(dict.fromkeys(r["solver"] for r in records))


def by_solver(records: Records) -> str:
    """Iterations per kernel and solver; where steps were left to be run one by one, how many."""
    solvers, rows = solvers_of(records), []
    for (target, kernel, T), group in grouped(records, *CHAIN):
        cells = {r["solver"]: iterations_cell(r) for r in group}
        rows.append(([target, kernel, f"{T:,}", *(cells.get(s, "") for s in solvers)], group))
    return markdown([*CHAIN, *solvers], rows)


def fewest_iterations(group: Records) -> Record | None:
    solved = [r for r in group if r["status"] == "CONVERGED" and r["iterations"]]
    return min(solved, key=lambda r: r["iterations"], default=None)


def hard(records: Records) -> str:
    """Iterations per kernel and solver beside the exponent, and how `auto` compares."""
    solvers, rows = [s for s in solvers_of(records) if s != "auto"], []
    for (target, kernel, T), group in grouped(records, *CHAIN):
        cells = {r["solver"]: r for r in group}
        best = fewest_iterations(group)
        row = [
            target,
            kernel,
            f"{T:,}",
            exponent_cell(group[0]),
            *(iterations_cell(cells[name]) if name in cells else "" for name in solvers),
            "-" if best is None else f"{T / best['iterations']:.0f}",
            "-" if best is None else f"{best['evaluations_per_draw']:.0f}",
            auto_cell(cells["auto"]) if "auto" in cells else "",
        ]
        rows.append((row, group))
    last = "T / fewest", "evaluations per draw", "auto"
    return markdown([*CHAIN, "exponent", *solvers, *last], rows)


def aims(records: Records) -> str:
    """Iterations against the aim, per chain: those of `auto` where it ran, else of the best."""
    with_auto = any(r["solver"] == "auto" for r in records)
    rows = []
    for (target, kernel, T, seed), group in grouped(records, *CHAIN, "seed"):
        best = fewest_iterations(group)
        judged = next((r for r in group if r["solver"] == "auto"), best)
        aim = group[0]["aim"]
        met = judged and judged["status"] == "CONVERGED" and judged["iterations"] <= (aim or 0)
        row = [
            target,
            kernel,
            f"{T:,}",
            str(seed),
            "-" if aim is None else f"<= {aim}",
            "none converged" if best is None else f"{iterations_of(best)} ({best['solver']})",
            *([auto_cell(judged) if judged else "-"] if with_auto else []),
            "-" if aim is None else "yes" if met else "no",
            f"{sum(r['num_steps_differ'] == 0 for r in group)} of {len(group)}",
        ]
        rows.append((row, group))
    head = [*CHAIN, "seed", "aim", "iterations (best solver)"]
    return markdown([*head, *(["auto"] if with_auto else []), "met", "right chain"], rows)


def memory(records: Records) -> str:
    """Megabytes planned per solver, and what a run took, if there was one.

    The plan and its arguments are held against the least: the draws and the randomness.
    """

    def of_the_least(r: Record) -> str:
        inputs = r["bytes_of_inputs"]
        return f"{(r['bytes'] + inputs) / (r['bytes_of_draws'] + inputs):.1f}x"

    def if_run(cell: Cell) -> Cell:
        return lambda r: cell(r) if "status" in r else ""

    return table(
        records, *PROGRAM, "window", ("MB", entry("bytes", ",.0f", 1e-6)),
        ("of which draws", entry("bytes_of_draws", ",.0f", 1e-6)), ("of the least", of_the_least),
        *((name, if_run(COLUMNS[name])) for name in ("iterations", "steps run one by one")),
        ("MB of the process", if_run(lambda r: f"{r['bytes_of_process'] / 1e6:,.0f}")),
    )  # fmt: skip


def sweep(records: Records) -> str:
    """Exponent and iterations per step size."""
    return table(
        records, "target", "kernel", ("accept", entry("acceptance_rate", ".2f")), "exponent",
        *((by, lambda r, by=by: iterations_of(r, f"_{by}")) for by in ("deer", "jacobi")),
    )  # fmt: skip


def swap(records: Records) -> str:
    """Time per draw of each kernel under each class."""
    return table(
        records, "T", "chains", "sampler", "solver", ("iterations", iterations_of),
        ("us per draw", entry("microseconds_per_draw", ".3g")), ("s", median("seconds")),
        "compile s",
    )  # fmt: skip


def auto(records: Records) -> str:
    """What `auto` chose, and how long it takes beside the sequential loop."""
    return table(
        records, *CHAIN, "chosen", "sequential s", ("auto s", median("seconds")),
        ("auto / sequential", lambda r: f"{r['seconds'] / r['seconds_sequential']:.2f}"),
    )  # fmt: skip


def torture(records: Records) -> str:
    """Per kind of recursion: how many combinations came out equal, told of, and wrong."""

    def counted(group: Records) -> list[str]:
        names = "equal", "told", "wrong_when_told", "silent"
        numbers = [sum(r[f"num_{name}"] for r in group) for name in names]
        return [f"{n:,}" for n in (sum(r["chains"] for r in group), *numbers)]

    head = (
        "recursion", "compared", "combinations", "equal", "told", "told, and wrong",
        "wrong in silence",
    )  # fmt: skip
    rows = [
        ([target.replace("_", " "), kernel, *counted(group)], group)
        for (target, kernel), group in grouped(records, "target", "kernel")
    ]
    return markdown(head, [*rows, (["all", "", *counted(records)], [])])


def constants(records: Records) -> str:
    """Iterations of all kernels, and chains unsolved, with each number halved and doubled."""
    found = {(r["target"], r["factor"], r["solver"]): r for r in records}
    solvers, rows = solvers_of(records), []
    for name in dict.fromkeys(r["target"] for r in records):
        factors = (1.0, 1.0) if (name, 1.0, solvers[0]) in found else (0.5, 2.0)
        group = [found.get((name, factor, s)) for s in solvers for factor in factors]
        cells = [f"{r['iterations']:,} ({r['num_unsolved']})" if r else "" for r in group]
        rows.append(([name, *cells], [r for r in group if r]))
    head = ["number", *(f"{s}, {change}" for s in solvers for change in ("half", "twice"))]
    return markdown(head, rows)


def warmups(records: Records) -> str:
    """Per posterior the critical path of both warm-ups, and whether the draws are right."""
    return table(
        records, "posterior", "D",
        ("settled", lambda r: "yes" if r["settled"] else "no, and told"),
        ("rounds", entry("num_rounds")), "gradients",
        ("one by one", entry("num_gradients_one_by_one", ",")), ("s", entry("seconds", ".2f")),
        ("one by one", entry("seconds_one_by_one", ".2f")), "R-hat",
        ("worst mean, in standard errors", entry("z_score", ".1f")),
        ("worst standard deviation", entry("sd_error", ".0%")),
        ("least ESS of 4,000", entry("min_ess", ",.0f")),
    )  # fmt: skip


def reference(records: Records) -> str:
    """The paper's code beside ours."""

    def its_iterations(r: Record) -> str:
        return str(r["iterations_reference"]) + " (limit)" * (not r["converged_reference"])

    return table(
        records, *CHAIN, ("its iterations", its_iterations),
        ("its s", median("seconds_reference")), "solver", ("iterations", iterations_cell),
        ("s", median("seconds")), "sequential s",
        ("its s / s", lambda r: f"{r['seconds_reference'] / r['seconds']:.2g}"),
    )  # fmt: skip


def low_to_high(r: Record) -> str:
    low, high = min(r["iterations"]), max(r["iterations"])
    return str(high) if low == high else f"{low} to {high}"


def posteriors(records: Records) -> str:
    """Everything a reader may hold against the examples."""
    return table(
        records, "model", "unknowns", ("warm-up", entry("warmup_gradients", ",")),
        ("draws", entry("sample_gradients", ",")), "solver", ("iterations", low_to_high),
        "least ESS", ("NUTS warm-up", entry("warmup_gradients_nuts", ",")),
        ("NUTS draws", entry("sample_gradients_nuts", ",")),
        ("NUTS least ESS", entry("min_ess_nuts", ",.0f")), "NUTS / ours",
        ("warm s", entry("seconds_warm", ".3g")),
        ("NUTS warm s", entry("seconds_warm_nuts", ".3g")),
        "outcome",
    )  # fmt: skip


def models(records: Records) -> str:
    """What a first look wants to know, best first."""

    def gradients(by: str) -> Cell:
        return lambda r: f"{r[f'warmup_gradients{by}'] + r[f'sample_gradients{by}']:,}"

    return table(
        sorted(records, key=path_ratio, reverse=True), "model", "unknowns",
        ("gradients in turn", gradients("")), ("NUTS", gradients("_nuts")),
        ("ratio per effective draw", COLUMNS["NUTS / ours"]), "outcome",
    )  # fmt: skip


def peers(records: Records) -> str:
    """Seconds, one after the other with warm-up and with compilation, and gradients."""

    def costs(size: int) -> list[tuple[str, Cell]]:
        def warm(r: Record) -> float:
            return seconds_to(size, r) + r["seconds_warmup"]

        measures: list[tuple[str, Callable[[Record], float]]] = [
            (f"s to {size:,}", lambda r: seconds_to(size, r)),
            ("with warm-up", warm),
            ("from cold", lambda r: warm(r) + seconds_to_compile(r)),
            ("million gradients", lambda r: gradients_to(size, r) / 1e6),
            ("with warm-up", lambda r: (gradients_to(size, r) + r["gradients_warmup"]) / 1e6),
        ]
        return [(head, lambda r, value=value: f"{value(r):.3g}") for head, value in measures]

    return table(
        sorted(records, key=lambda r: r["target"]), "target", "sampler", "chains", "solver",
        ("ESS per draw", lambda r: f"{r['min_ess'] / (r['T'] * r['chains']):.2g}"),
        *costs(1_000), *costs(100_000),
    )  # fmt: skip


def samplers(records: Records) -> str:
    """One run of each sampler, in seconds."""

    def per_second(r: Record) -> str:
        return f"{r['min_ess'] / (r['seconds'] + r['seconds_warmup']):,.0f}"

    return table(
        records, "target", "sampler", "chains", "draws", ("ESS", entry("min_ess", ",.0f")),
        ("warm-up s", median("seconds_warmup")), ("draws s", median("seconds")),
        ("from cold s", lambda r: short(r["seconds_cold_warmup"] + r["seconds_cold"])),
        ("ESS a second, with warm-up", per_second),
    )  # fmt: skip


def programs(records: Records) -> str:
    """Per row an iteration, the loops in it in brackets by turn, and what is outside.

    Where they ran: as they were counted and as they were measured, the time outside being shared
    out. Of a sequential chain an iteration is a step.
    """
    model = with_loops("seconds_model", 1e6)
    if all("seconds" in r for r in records):
        return table(
            records, *PROGRAM, "kernels", "waits", "MB", ("iterations", iterations_cell),
            ("us an iteration", lambda r: short(1e6 * r["seconds"] / (r["iterations"] or r["T"]))),
            ("by the model", model), ("ms in all", in_short("seconds", 1e3)),
            ("by the model", in_short("seconds_run_model", 1e3)), "compile s",
        )  # fmt: skip
    return table(
        records, *PROGRAM, "kernels", "waits", "MB", ("us by the model", model),
        ("kernels outside", in_short("kernels_outside")),
        ("waits outside", in_short("waits_outside")),
        ("MB outside", in_short("bytes_moved_outside", 1e-6)),
        ("us outside", in_short("seconds_model_outside", 1e6)),
        ("MB temporary", in_short("bytes_temporary", 1e-6)), "compile s",
    )  # fmt: skip


def equality(records: Records) -> str:
    """Per kernel and precision what each solver came to, with its iterations."""
    solvers, rows = solvers_of(records), []
    for key, group in grouped(records, "target", "kernel", "dtype"):
        cells = {r["solver"]: equality_cell(r) for r in group}
        rows.append(([*key, *(cells.get(name, "") for name in solvers)], group))
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


def launches(records: Records) -> str:
    """A turn of each loop, and at the end what a kernel and a wait take by least squares."""
    rows = []
    for (flags,), group in grouped(records, "solver"):
        measured = ("seconds_turn", 1e6), ("seconds_model", 1e6)
        times = [in_short(*measure) for measure in measured]
        rows += [
            ([r["kernel"], flags, str(r["kernels"]), str(r["waits"]), *(t(r) for t in times)], [r])
            for r in group
        ]
        counts = np.array([[r["kernels"], r["waits"]] for r in group], float)
        seconds = np.array([r["seconds_turn"] for r in group])
        fitted = np.linalg.lstsq(counts, seconds, rcond=None)[0]
        rows.append((["by least squares, of one", flags, *map(short, 1e6 * fitted), "", ""], []))
    head = ("loop", "command buffers", "kernels", "waits", "us a turn", "us by the model")
    return markdown(head, rows)


SCALED: dict[str, Callable[[Record], float]] = {
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


def scaling(records: Records) -> str:
    """Milliseconds per iteration and megabytes, and the powers of the size that they grow with."""

    def written(values: Sequence[float], spec: str) -> list[str]:
        return ["-" if np.isnan(value) else format(value, spec) for value in values]

    rows = []
    for (axis,), group in grouped(records, "axis"):
        group = sorted(group, key=lambda r, axis=axis: r[axis])
        for r in group:
            cells = written([measure(r) for measure in SCALED.values()], ".3g")
            rows.append(([f"{axis} = {r[axis]:,}", str(r["iterations"]), *cells], [r]))
        if len(group) > 1:
            sizes = [r[axis] for r in group]
            powers = [power(sizes, [m(r) for r in group]) for m in SCALED.values()]
            rows.append(([f"power of {axis}", "", *written(powers, ".2f")], []))
    return markdown(["size", "iterations", *SCALED], rows)


def power(sizes: list[int], values: list[float]) -> float:
    """The exponent of the power law through the larger half of the sizes, by least squares."""
    measured = [pair for pair in zip(sizes, values, strict=True) if np.isfinite(pair[1])]
    largest = measured[-max(2, (len(measured) + 1) // 2) :]
    return float(np.polyfit(*np.log(largest).T, 1)[0]) if len(largest) > 1 else np.nan


TABLE_OF: dict[str, Callable[[Records], str]] = {
    **{f.__name__: f for f in (
        auto, constants, equality, hard, launches, memory, peers, posteriors, programs, reference,
        scaling, swap, sweep, torture, warmups,
    )},
    "blackjax": by_solver,
    "trajectories": by_solver,
    "paper": lambda records: table(records, *PAPER),
}  # fmt: skip
"""Suites with a table of their own; the others have their aims and their runs."""
