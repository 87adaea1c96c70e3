"""The tables, by part: their columns, a row per record. `pivots` has those of several records."""

from collections.abc import Callable

from benchmarks import judged, pivots
from benchmarks.columns import (
    CHAIN,
    COLUMNS,
    Cell,
    Column,
    Records,
    entry,
    grouped,
    in_short,
    iterations_cell,
    iterations_of,
    low_to_high,
    median,
    of,
    short,
    table,
    with_loops,
)
from benchmarks.judged import gradients_to, path_of, path_ratio, seconds_to, seconds_to_compile
from benchmarks.records import NO_JITTER, Record, part_of

PROGRAM = (*CHAIN, "solver")


def if_run(cell: Cell) -> Cell:
    return lambda r: cell(r) if "status" in r else ""


def if_in(name: str, cell: Cell) -> Cell:
    """Nothing where it was not measured."""
    return lambda r: cell(r) if name in r else ""


def known(name: str) -> Cell:
    """Megabytes; nothing where they were not measured."""
    return if_in(name, entry(name, ",.0f", 1e-6))


def of_the_least(r: Record) -> str:
    """Of memory: the plan and its arguments against the draws and the randomness."""
    inputs = r["bytes_of_inputs"]
    return f"{(r['bytes'] + inputs) / (r['bytes_of_draws'] + inputs):.1f}x"


def its_iterations(r: Record) -> str:
    return str(r["iterations_reference"]) + " (limit)" * (not r["converged_reference"])


def exponent_cell(r: Record) -> str:
    """Nats per step; a dash where it was not looked at, or a step forgets everything."""
    return "-" if r.get("exponent") is None else f"{r['exponent']:.2f}"


def gradients(by: str) -> Cell:
    return of(lambda r: path_of(r, by), ",")


def costs(size: int) -> list[Column]:
    """Of so many effective draws: seconds, with warm-up and with compilation, and gradients."""

    def warm(r: Record) -> float:
        return seconds_to(size, r) + r["seconds_warmup"]

    return [
        (f"s to {size:,}", of(lambda r: seconds_to(size, r))),
        ("with warm-up", of(warm)),
        ("from cold", of(lambda r: warm(r) + seconds_to_compile(r))),
        ("million gradients", of(lambda r: gradients_to(size, r) / 1e6)),
        ("with warm-up", of(lambda r: (gradients_to(size, r) + r["gradients_warmup"]) / 1e6)),
    ]


COLUMNS_OF: dict[str, tuple[Column, ...]] = {
    "examples": (
        *CHAIN, "D", "solver", "seed", "accept", "iterations", "residual", "status",
        "steps run one by one", "largest difference", "in sd", "steps that differ", "compile s",
        "sequential s", "parallel s", "ratio", "MB sequential", "MB parallel",
    ),
    "short": (
        *PROGRAM, "iterations", "steps run one by one", "in sd", "sequential s", "parallel s",
    ),
    "paper": (
        *CHAIN, "chains", "solver", "seed", "window", "iterations", "steps run one by one",
        "steps that differ", "least ESS", "in sd", "compile s", "sequential s", "parallel s",
        "MB parallel",
    ),
    "gpu-paper": (
        *CHAIN, "chains", "solver", "iterations", "compile s", "sequential s", "parallel s",
        "ratio",
    ),
    "reference": (
        *CHAIN, ("its iterations", its_iterations), ("its s", median("seconds_reference")),
        "solver", ("iterations", iterations_cell), ("s", median("seconds")), "sequential s",
        ("its s / s", of(lambda r: r["seconds_reference"] / r["seconds"], ".2g")),
    ),
    "auto": (
        *CHAIN, "chosen", "sequential s", ("auto s", median("seconds")),
        ("auto / sequential", of(lambda r: r["seconds"] / r["seconds_sequential"], ".2f")),
    ),
    "sweep": (
        "target", "kernel", ("accept", entry("acceptance_rate", ".2f")), "exponent",
        ("deer", lambda r: iterations_of(r, "_deer")),
        ("jacobi", lambda r: iterations_of(r, "_jacobi")),
    ),
    "memory": (
        *PROGRAM, "window", ("MB", entry("bytes", ",.0f", 1e-6)),
        ("of which draws", entry("bytes_of_draws", ",.0f", 1e-6)),
        ("of the least", of_the_least),
        *((name, if_run(COLUMNS[name])) for name in ("iterations", "steps run one by one")),
        ("MB of the process", if_run(entry("bytes_of_process", ",.0f", 1e-6))),
    ),
    "devices": (
        "target", "T", ("devices", entry("devices")),
        ("MB of each, temporary", entry("bytes_temporary", ",.0f", 1e-6)),
        ("draws", entry("bytes_results", ",.0f", 1e-6)),
        ("most numbers that cross", entry("largest_gathered", ",")),
        ("iterations", if_run(COLUMNS["iterations"])),
        ("s", if_run(entry("seconds", ",.0f"))),
    ),
    "sharded": (
        "solver", ("devices", entry("devices")), ("kernels", entry("kernels")),
        ("collectives", entry("collectives")),
        ("bytes that cross", entry("collective_bytes", ",")),
        ("MB moved on each", entry("bytes_moved", ",.0f", 1e-6)),
        ("MB of each, temporary", entry("bytes_temporary", ",.0f", 1e-6)),
        ("MB of draws", entry("bytes_results", ",.0f", 1e-6)),
    ),
    "stored": (
        *CHAIN, "window", ("MB of draws", known("bytes_of_draws")),
        ("MB of the store", known("bytes_of_store")),
        ("MB of the process", known("bytes_of_process")),
        ("s a window, alone", if_in("seconds_alone", median("seconds_alone"))),
        ("in a store", if_in("seconds_stored", median("seconds_stored"))),
    ),
    "swap": (
        "T", "chains", "sampler", "solver", ("iterations", iterations_of),
        ("us per draw", entry("microseconds_per_draw", ".3g")), ("s", median("seconds")),
        "compile s",
    ),
    "peers": (
        "target", "sampler", "chains", "solver",
        ("ESS per draw", of(lambda r: r["min_ess"] / (r["T"] * r["chains"]), ".2g")),
        *costs(1_000), *costs(100_000),
    ),
    "gpu-peers": (
        "target", "sampler", "chains", ("draws", entry("T", ",")),
        ("ESS", entry("min_ess", ",.0f")), ("warm-up s", median("seconds_warmup")),
        ("draws s", median("seconds")),
        ("from cold s", lambda r: short(r["seconds_cold_warmup"] + r["seconds_cold"])),
        ("ESS a second, with warm-up",
         of(lambda r: r["min_ess"] / (r["seconds"] + r["seconds_warmup"]), ",.0f")),
    ),
    "posteriors": (
        "model", "unknowns", ("warm-up", entry("warmup_gradients", ",")),
        ("choice", entry("choice_gradients", ",")), ("draws", entry("sample_gradients", ",")),
        "solver",
        ("iterations", low_to_high("iterations")), ("leapfrogs", low_to_high("leapfrogs")),
        ("exponent", exponent_cell), "least ESS",
        ("NUTS warm-up", entry("warmup_gradients_nuts", ",")),
        ("NUTS draws", entry("sample_gradients_nuts", ",")),
        ("NUTS least ESS", entry("min_ess_nuts", ",.0f")), "NUTS / ours",
        ("s here", if_in("seconds_warm_here", entry("seconds_warm_here", ".3g"))),
        ("NUTS s", entry("seconds_warm_nuts", ".3g")),
        ("NUTS / ours, s", if_in("seconds_warm_here", judged.time_ratio_cell)),
        ("in sd", if_in("max_difference_sd", COLUMNS["in sd"])), "outcome",
    ),
    "models": (
        "model", "unknowns", ("gradients in turn", gradients("")), ("NUTS", gradients("_nuts")),
        ("ratio per effective draw", COLUMNS["NUTS / ours"]), "outcome",
    ),
    "warmups": (
        ("posterior", entry("target")), "D",
        ("settled", lambda r: "yes" if r["settled"] else "no, and told"),
        ("rounds", entry("num_rounds")), "gradients",
        ("one by one", entry("num_gradients_one_by_one", ",")), ("s", entry("seconds", ".2f")),
        ("one by one", entry("seconds_one_by_one", ".2f")), "R-hat",
        ("worst mean, in standard errors", entry("z_score", ".1f")),
        ("worst standard deviation", entry("sd_error", ".0%")),
        ("least ESS of 4,000", entry("min_ess", ",.0f")),
    ),
    "bias": (
        "model", "unknowns", ("warm-up", entry("warmup_gradients", ",")), "leapfrogs",
        ("draws of each chain", entry("num_draws")),
        ("gradients in turn", in_short("num_gradients")),
        ("b2 after 100 draws", entry("bias_of_all", ".1e")), ("LAPS", entry("published")),
    ),
    # Per row an iteration, the loops in it in brackets by turn, and what is outside.
    "programs": (
        *PROGRAM, "kernels", "waits", "MB", ("us by the model", with_loops("seconds_model", 1e6)),
        ("kernels outside", in_short("kernels_outside")),
        ("waits outside", in_short("waits_outside")),
        ("MB outside", in_short("bytes_moved_outside", 1e-6)),
        ("us outside", in_short("seconds_model_outside", 1e6)),
        ("MB temporary", in_short("bytes_temporary", 1e-6)), "compile s",
    ),
    # As they were measured, the time outside being shared out. Of a sequential chain an iteration
    # is a step.
    "gpu-programs": (
        *PROGRAM, "kernels", "waits", "MB", ("iterations", iterations_cell),
        ("us an iteration", lambda r: short(1e6 * r["seconds"] / (r["iterations"] or r["T"]))),
        ("by the model", with_loops("seconds_model", 1e6)),
        ("ms in all", in_short("seconds", 1e3)),
        ("by the model", in_short("seconds_run_model", 1e3)), "compile s",
    ),
}  # fmt: skip

SELECTED: dict[str, Callable[[Records], Records]] = {
    # One row per example: Newton on the first seed.
    "short": lambda rs: [r for r in rs if r["solver"] == "deer" and r["seed"] == 0],
    "models": lambda rs: sorted(
        (r for r in rs if not r["target"].endswith(NO_JITTER)), key=path_ratio, reverse=True
    ),
    "peers": lambda rs: sorted(rs, key=lambda r: r["target"]),
}
"""Of tables that do not have all records, or not in the order of their file."""

PART_OF = {"short": "examples", "models": "posteriors", "aims": "examples"}
"""Of tables that do not have the name of their part."""

GPU = "gpu-"
"""Before the name of a part: its records of a GPU, without those of the host beside it."""


def made(name: str, records: Records) -> str:
    """The table of that name, of the records of its part."""
    if name not in COLUMNS_OF:
        return pivots.PIVOTS[name.removeprefix(GPU)](records)
    return table(SELECTED.get(name, list)(records), *COLUMNS_OF[name])


def of_part(name: str, records: Records) -> Records:
    part = PART_OF.get(name, name.removeprefix(GPU))
    return [r for r in records if part_of(r) == part]


def render(records: Records) -> str:
    """All tables of each device, precision and set of versions."""
    settings = "device", "platform", "cpu_count", "dtype", "python", "jax", "parallel_mcmc"
    parts = []
    for (device, platform, cpus, dtype, python, jax, ours), group in grouped(records, *settings):
        versions = f"Python {python}, JAX {jax}, parallel_mcmc {ours}"
        parts.append(f"## {device} ({platform}, {cpus} CPUs), {dtype}, {versions}")
        for name in dict.fromkeys(map(part_of, group)):
            rows = of_part(name, group)
            if name == "programs" and "seconds" in rows[0]:
                name = GPU + name
            parts += [made(other, rows) for other in (name, *["aims"] * (name == "examples"))]
    return "\n\n".join(parts)
