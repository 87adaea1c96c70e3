"""What records come to: whether draws are right, and what effective ones cost."""

from benchmarks.records import Record

LARGEST_RHAT = 1.05
"""Of draws that are taken for right."""


def path_of(r: Record, by: str = "") -> int:
    """Gradients in turn from cold, of ours or ``by="_nuts"``, which has no solver to choose."""
    parts = ["warmup", "choice", "sample"] if not by else ["warmup", "sample"]
    return sum(r[f"{part}_gradients{by}"] for part in parts)


def path_ratio(r: Record) -> float:
    """Gradients in turn from cold per effective draw of the worst scalar: NUTS's over ours."""
    return path_of(r, "_nuts") / r["min_ess_nuts"] / (path_of(r) / r["min_ess"])


def ratio_cell(r: Record) -> str:
    """Of what NUTS has, too: a chain of it may be stuck."""
    if r["rhat_nuts"] >= LARGEST_RHAT:
        return f"NUTS: R-hat {r['rhat_nuts']:.2g}"
    ratio = path_ratio(r)
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def time_ratio_cell(r: Record) -> str:
    """Seconds per effective draw of the worst scalar on this device: NUTS's over ours."""
    ours, by_nuts = (
        r["seconds_warm_here"] / r["min_ess"],
        r["seconds_warm_nuts"] / r["min_ess_nuts"],
    )
    return "-" if r["rhat_nuts"] >= LARGEST_RHAT else f"{by_nuts / ours:.3g}"


def is_right(r: Record) -> bool:
    """As far as R-hat and the worst scalar say; of the heavy tails of users no run knows the sd."""
    sd_is_right = r["sd_error"] < 0.15 or r["source"] == "users"
    return r["rhat"] < LARGEST_RHAT and r["z_score"] < 4 and sd_is_right


def outcome_of(r: Record) -> str:
    """Right or not, and what the user was told."""
    off = f"R-hat {r['rhat']:.2f}, mean {r['z_score']:.1f} errors off"
    if r["source"] != "users":
        off += f", standard deviation {r['sd_error']:.0%} off"
    words = ["right" if is_right(r) else off]
    if unsettled := r["settled"].count(False):
        words.append(f"helpers of {unsettled} of {len(r['settled'])} chains did not settle, told")
    if any(r["num_sequential_steps"]):
        told = r.get("as_on_accelerator", True)
        words.append("steps one by one, " + ("told" if told else "to save time here"))
    return "; ".join(words)


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
