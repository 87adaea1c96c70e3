"""What a run came to, in a line."""


def found(record: dict) -> str:
    if record["suite"] == "memory":
        return f"{record['bytes'] / 1e6:,.0f} MB in windows of {record['window']:,}"
    if record["suite"] == "torture":
        return (
            f"{record['dtype']}, window {record['window']}: {record['num_equal']} equal, "
            f"{record['num_told']} told, {record['num_silent']} in silence"
        )
    if record["suite"] == "warmups":
        settled = "settled" if record["settled"] else "not settled"
        return (
            f"{settled} after {record['num_gradients']:,} gradients, one by one "
            f"{record['num_gradients_one_by_one']:,}; worst mean {record['z_score']:.1f} standard "
            "errors off"
        )
    if record["suite"] == "constants":
        return (
            f"times {record['factor']}: {record['iterations']} iterations, "
            f"{record['num_unsolved']} of {record['chains']} chains unsolved"
        )
    if record["suite"] == "programs":
        ran = f", {record['seconds']:.3g} s" if "seconds" in record else ""
        return (
            f"{record['kernels']:,} kernels and {record['waits']} waits an iteration, "
            f"{record['kernels_outside']:,} and {record['waits_outside']} besides{ran}"
        )
    if record["suite"] == "equality":
        if record["outcome"] == "failed":
            return f"{record['dtype']}, failed, {record['reason']}"
        return (
            f"{record['dtype']}, {record['outcome']}, {record['iterations']} iterations, "
            f"{record['max_difference_sd']:.1e} standard deviations apart"
        )
    if record["suite"] == "launches":
        return (
            f"{record['kernels']} kernels and {record['waits']} waits a turn, "
            f"{1e6 * record['seconds_turn']:.3g} us"
        )
    if record["suite"] == "posteriors":
        ours, nuts = (
            record[f"warmup_gradients{by}"] + record[f"sample_gradients{by}"]
            for by in ("", "_nuts")
        )
        return (
            f"{ours:,} gradients in turn, NUTS {nuts:,}; worst mean {record['z_score']:.1f} "
            f"standard errors off, R-hat {record['rhat']:.3f}"
        )
    if record["suite"] == "sweep":
        deer, jacobi = record["iterations_deer"], record["iterations_jacobi"]
        return f"exponent {record['exponent']:.3f}, deer {deer}, jacobi {jacobi} iterations"
    if record["suite"] == "peers":
        ess, spent = record["min_ess"], record["seconds"]
        return f"{record['chains']} chains, ESS {ess:,.0f} in {spent:.3g} s after warm-up"
    if record["suite"] == "swap":
        chains, cost = record["chains"], record["microseconds_per_draw"]
        return f"{chains} chains, {record['iterations']} iterations, {cost:.3g} us per draw"
    return (
        f"{record['iterations']} iterations, {record['status'].lower()}, "
        f"{record['num_steps_differ']} steps differ, "
        f"{record['seconds_sequential']:.3g} s sequential, {record['seconds']:.3g} s parallel"
    )
