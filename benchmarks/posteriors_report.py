"""Real models: what was right, and the critical path beside that of NUTS."""

from benchmarks.cells import markdown
from benchmarks.records import Record

LARGEST_RHAT = 1.05
"""Of draws that are taken for right."""


def posteriors_table(records: list[Record]) -> str:
    """Everything a reader may hold against the defaults."""
    head = (
        "model", "unknowns", "warm-up", "draws", "solver", "iterations", "least ESS",
        "NUTS warm-up", "NUTS draws", "NUTS least ESS", "NUTS / ours", "warm s", "NUTS warm s",
        "outcome",
    )  # fmt: skip
    rows = [
        [
            name_of(r),
            str(r["D"]),
            f"{r['warmup_gradients']:,}",
            f"{r['sample_gradients']:,}",
            r["solver"],
            iterations_of(r),
            f"{r['min_ess']:,.0f}",
            f"{r['warmup_gradients_nuts']:,}",
            f"{r['sample_gradients_nuts']:,}",
            f"{r['min_ess_nuts']:,.0f}",
            ratio_cell(r),
            f"{r['seconds_warm']:.3g}",
            f"{r['seconds_warm_nuts']:.3g}",
            outcome_of(r),
        ]
        for r in records
    ]
    return markdown(list(head), rows)


def short_table(records: list[Record]) -> str:
    """What a first look wants to know, best first."""
    head = ["model", "unknowns", "gradients in turn", "NUTS", "ratio per effective draw", "outcome"]
    rows = [
        [
            name_of(r),
            str(r["D"]),
            f"{r['warmup_gradients'] + r['sample_gradients']:,}",
            f"{r['warmup_gradients_nuts'] + r['sample_gradients_nuts']:,}",
            ratio_cell(r),
            outcome_of(r),
        ]
        for r in sorted(records, key=path_ratio, reverse=True)
    ]
    return markdown(head, rows)


def name_of(r: Record) -> str:
    return r["target"].replace("_", " ")


def iterations_of(r: Record) -> str:
    low, high = min(r["iterations"]), max(r["iterations"])
    return str(high) if low == high else f"{low} to {high}"


def path_ratio(r: Record) -> float:
    """Gradients in turn from cold per effective draw of the worst scalar: NUTS's over ours."""
    ours, nuts = (
        (r[f"warmup_gradients{by}"] + r[f"sample_gradients{by}"]) / r[f"min_ess{by}"]
        for by in ("", "_nuts")
    )
    return nuts / ours


def ratio_cell(r: Record) -> str:
    """Of what NUTS has, too: a chain of it may be stuck."""
    stuck = r["rhat_nuts"] >= LARGEST_RHAT
    if stuck:
        return f"NUTS: R-hat {r['rhat_nuts']:.2g}"
    ratio = path_ratio(r)
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def is_right(r: Record) -> bool:
    """As far as R-hat and the worst scalar say."""
    sd_is_known = r["source"] != "users"  # of their heavy tails no run knows it
    return (
        r["rhat"] < LARGEST_RHAT and r["z_score"] < 4 and (r["sd_error"] < 0.15 or not sd_is_known)
    )


def outcome_of(r: Record) -> str:
    """Right or not, and what the user was told."""
    words = [
        "right" if is_right(r) else f"R-hat {r['rhat']:.2f}, mean {r['z_score']:.1f} errors off"
    ]
    unsettled = len(r["settled"]) - sum(r["settled"])
    if unsettled:
        words.append(f"helpers of {unsettled} of {len(r['settled'])} chains did not settle, told")
    if any(r["num_sequential_steps"]):
        words.append("steps one by one, told")
    return "; ".join(words)
