"""Records of the suite `peers` as what an effective sample size costs."""

from benchmarks.cells import markdown
from benchmarks.records import Record

SIZES = (1_000, 100_000)


def num_draws(ess: float, r: Record) -> float:
    """Of each chain: at least one."""
    return max(1.0, r["T"] * ess / r["min_ess"])


def seconds_to(ess: float, r: Record) -> float:
    """After warm-up and compilation, on the line through the runs of T and T / 4 draws."""
    per_draw = (r["seconds"] - r["seconds_quarter"]) / (r["T"] - r["T"] // 4)
    if per_draw <= 0:  # within the noise
        per_draw = r["seconds"] / r["T"]
    draws = num_draws(ess, r)
    return max(r["seconds"] + per_draw * (draws - r["T"]), per_draw * draws)


def seconds_to_compile(r: Record) -> float:
    """First calls less later ones."""
    cold = r["seconds_cold_warmup"] + r["seconds_cold"]
    return max(cold - r["seconds_warmup"] - r["seconds"], 0.0)


def gradients_to(ess: float, r: Record) -> float:
    """After the warm-up."""
    return r["gradients"] * num_draws(ess, r) / r["T"]


def peers_table(records: list[Record]) -> str:
    """Seconds, one after the other with warm-up and with compilation, and gradients."""
    head = ["target", "sampler", "chains", "solver", "ESS per draw"]
    for size in SIZES:
        head += [f"s to {size:,}", "with warm-up", "from cold", "million gradients", "with warm-up"]
    rows = []
    for r in sorted(records, key=lambda r: r["target"]):
        row = [
            r["target"],
            r["kernel"],
            f"{r['chains']:,}",
            r["solver"],
            f"{r['min_ess'] / (r['T'] * r['chains']):.2g}",
        ]
        for size in SIZES:
            run, gradients = seconds_to(size, r), gradients_to(size, r)
            warm = run + r["seconds_warmup"]
            cells = (
                run,
                warm,
                warm + seconds_to_compile(r),
                gradients / 1e6,
                (gradients + r["gradients_warmup"]) / 1e6,
            )
            row += [f"{cell:.3g}" for cell in cells]
        rows.append(row)
    return markdown(head, rows)
