"""The tables, by suite: their columns, a row per record; those with others are in `pivots`."""

from collections.abc import Callable

from benchmarks.columns import (
    COLUMNS,
    Cell,
    entry,
    grouped,
    in_short,
    iterations_cell,
    iterations_of,
    median,
    short,
    table,
    with_loops,
)
from benchmarks.judged import gradients_to, path_ratio, seconds_to, seconds_to_compile
from benchmarks.pivots import (
    CHAIN,
    Records,
    aims,
    by_solver,
    constants,
    equality,
    hard,
    launches,
    scaling,
    torture,
)
from benchmarks.records import Record

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


def bias(records: Records) -> str:
    """From cold to a small error of second moments, beside a sampler that is made for it."""
    return table(
        records, "model", "unknowns", ("warm-up", entry("warmup_gradients", ",")), "leapfrogs",
        ("draws of each chain", entry("num_draws")),
        ("gradients in turn", in_short("num_gradients")),
        ("b2 after 100 draws", entry("bias_of_all", ".1e")), ("LAPS", entry("published")),
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


def low_to_high(name: str) -> Callable[[Record], str]:
    """Of an entry that has one number per chain."""

    def cell(r: Record) -> str:
        low, high = min(r[name]), max(r[name])
        return str(high) if low == high else f"{low} to {high}"

    return cell


def pilot_exponent(r: Record) -> str:
    """Nats per step along the pilot; a dash where none was run, or a step forgets everything."""
    return "-" if r.get("exponent") is None else f"{r['exponent']:.2f}"


def posteriors(records: Records) -> str:
    """Everything a reader may hold against the defaults."""
    return table(
        records, "model", "unknowns", ("warm-up", entry("warmup_gradients", ",")),
        ("draws", entry("sample_gradients", ",")), "solver",
        ("iterations", low_to_high("iterations")), ("leapfrogs", low_to_high("leapfrogs")),
        ("exponent", pilot_exponent), "least ESS",
        ("NUTS warm-up", entry("warmup_gradients_nuts", ",")),
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


TABLE_OF: dict[str, Callable[[Records], str]] = {
    **{f.__name__: f for f in (
        auto, bias, constants, equality, hard, launches, memory, peers, posteriors, programs,
        reference, scaling, swap, sweep, torture, warmups,
    )},
    "blackjax": by_solver,
    "trajectories": by_solver,
    "paper": lambda records: table(records, *PAPER),
}  # fmt: skip
"""Suites with a table of their own; the others have their aims and their runs."""
