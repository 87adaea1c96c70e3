"""Tables whose rows are made of several records: by solver, by seed, by factor, by size."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.columns import (
    CHAIN,
    COLUMNS,
    Cell,
    Records,
    auto_cell,
    exponent_cell,
    grouped,
    in_short,
    iterations_cell,
    iterations_of,
    markdown,
    short,
)
from benchmarks.gpu_costs import WAIT_SECONDS
from benchmarks.records import Record
from benchmarks.scaling import MILLISECONDS
from parallel_mcmc._core.profiles import Profile


def solvers_of(records: Records) -> list[str]:
    return list(dict.fromkeys(r["solver"] for r in records))


def by_solver(records: Records, heads: Sequence[str] = CHAIN, cell: Cell = iterations_cell) -> str:
    """A cell per kernel and solver; of iterations, with the steps left to be run one by one."""
    solvers, rows = solvers_of(records), []
    for _, group in grouped(records, *("dtype" if head == "precision" else head for head in heads)):
        cells = {r["solver"]: cell(r) for r in group}
        known = [COLUMNS[head](group[0]) for head in heads]
        rows.append(([*known, *(cells.get(s, "") for s in solvers)], group))
    return markdown([*heads, *solvers], rows)


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
            target, kernel, f"{T:,}", exponent_cell(group[0]),
            *(iterations_cell(cells[name]) if name in cells else "" for name in solvers),
            "-" if best is None else f"{T / best['iterations']:.0f}",
            "-" if best is None else f"{best['evaluations_per_draw']:.0f}",
            auto_cell(cells["auto"]) if "auto" in cells else "",
        ]  # fmt: skip
        rows.append((row, group))
    last = "T / fewest", "evaluations per draw", "auto"
    return markdown([*CHAIN, "exponent", *solvers, *last], rows)


def aims(records: Records) -> str:
    """Iterations against the aim, per chain: those of `auto` where it ran, else of the best."""
    with_auto = any(r["solver"] == "auto" for r in records)
    rows = []
    for (target, kernel, T, seed), group in grouped(records, *CHAIN, "seed"):
        best, aim = fewest_iterations(group), group[0]["aim"]
        judged = next((r for r in group if r["solver"] == "auto"), best)
        met = judged and judged["status"] == "CONVERGED" and judged["iterations"] <= (aim or 0)
        row = [
            target, kernel, f"{T:,}", str(seed), "-" if aim is None else f"<= {aim}",
            "none converged" if best is None else f"{iterations_of(best)} ({best['solver']})",
            *([auto_cell(judged) if judged else "-"] if with_auto else []),
            "-" if aim is None else "yes" if met else "no",
            f"{sum(r['num_steps_differ'] == 0 for r in group)} of {len(group)}",
        ]  # fmt: skip
        rows.append((row, group))
    head = [*CHAIN, "seed", "aim", "iterations (best solver)", *["auto"] * with_auto]
    return markdown([*head, "met", "right chain"], rows)


def torture(records: Records) -> str:
    """Per kind of recursion: how many combinations came out equal, told of, and wrong."""

    def counted(group: Records) -> list[str]:
        names = "chains", "num_equal", "num_told", "num_wrong_when_told", "num_silent"
        return [f"{sum(r[name] for r in group):,}" for name in names]

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


def equality_cell(r: Record) -> str:
    outcome, margin = r["outcome"], r.get("tie_margin")
    if outcome == "failed":
        return "failed"
    if outcome == "told" and r["num_steps_differ"]:
        outcome += ", and wrong"
    if outcome == "differs" and "first_difference" in r:
        outcome += f" from step {r['first_difference']}"
    if r["outcome"] == "differs" and margin is not None:
        outcome += f", within {margin:.0e} of a tie"
    return f"{outcome} ({iterations_of(r)})"


def launches(records: Records) -> str:
    """A turn of each loop, and at the end what a kernel and a wait take by least squares."""
    rows = []
    for (flags,), group in grouped(records, "solver"):
        times = in_short("seconds_turn", 1e6), in_short("seconds_model", 1e6)
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


SCALED = {**MILLISECONDS, "MB": lambda r: r["bytes"] / 1e6}


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


def widths(records: Records) -> str:
    """A row per model: what evaluations cost one after the other and at once, and by the rule."""
    known, order = ("model", "unknowns", "kernel", "T", "chains"), ("sequential", "jacobi", "deer")
    costs = "us", "slower", "by the rule"
    heads = [*known, "a step: kernels", "us", "jacobi: kernels", *costs, "deer: kernels", *costs]
    rows = []
    for _, group in grouped(records, "D", "target", "T"):
        cells, ratios = [COLUMNS[name](group[0]) for name in known], slowdowns(group)
        for r in sorted(group, key=lambda r: order.index(r["solver"])):
            cells += [short(r["kernels"]), short(1e6 * r["seconds_model"])]
            cells += [format(ratio, ".2g") for ratio in ratios.get(r["solver"], ())]
        rows.append((cells + [""] * (len(heads) - len(cells)), group))  # without DEER
    return markdown(heads, rows)


def slowdowns(group: Records) -> dict[str, tuple[float, float]]:
    """How many times as long a kernel takes in iterations as in steps, counted and by the rule."""
    by_solver = {r["solver"]: r for r in group}

    def of_kernel(r: Record) -> float:
        return (r["seconds_model"] - r["waits"] * WAIT_SECONDS) / r["kernels"]

    found, step = {}, by_solver.pop("sequential")
    for solver, r in by_solver.items():
        profile = Profile(arrays=tuple(map(tuple, r["arrays"])))
        products = r["D"] if solver == "deer" else 1
        rule = profile.slowdown(r["T"] * r["chains"], products) / profile.slowdown(r["chains"])
        found[solver] = of_kernel(r) / of_kernel(step), rule
    return found


PIVOTS: dict[str, Callable[[Records], str]] = {
    "aims": aims,
    "defaults": aims,
    "hard": hard,
    "blackjax": by_solver,
    "trajectories": by_solver,
    "scaling": scaling,
    "torture": torture,
    "constants": constants,
    "equality": partial(by_solver, heads=("target", "kernel", "precision"), cell=equality_cell),
    "launches": launches,
    "widths": widths,
}
"""By part."""
