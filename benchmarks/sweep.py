"""Iterations against the exponent, over step sizes: the figure of arXiv:2508.16817, for MALA.

The exponent of the chain comes from `parallel_mcmc.lyapunov_exponent`, the iterations from solves.
"""

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm
from benchmarks.hard import HARD
from benchmarks.measure import Options, Row
from benchmarks.records import Record
from parallel_mcmc._mcmc.transition import recursion

T = 4_096
STEPS = np.logspace(-2.5, 0.5, 13)
"""Step sizes in units of the smallest variance of a target."""
MAX_ITERATIONS = 1_000
SOLVERS = {
    "deer": pm.deer(max_iterations=MAX_ITERATIONS),
    "jacobi": pm.jacobi(max_iterations=MAX_ITERATIONS),
}
TARGETS = ("logistic", "mixture", "eight schools", "banana")


def rows(options: Options, part: str) -> Iterator[Row]:
    for target in TARGETS:
        unit = HARD[target](options.data).unit
        for step in STEPS:
            step_size = unit**2 * float(step)
            kernel, solvers = f"MALA, step {step_size:.3g}", " and ".join(SOLVERS)
            measure = partial(measured, target, step_size, options)
            yield Row(target, kernel, T, solvers, measure, only=target)


def measured(target: str, step_size: float, options: Options) -> Record:
    found = jax.device_get(program(target, options.data, options.seed)(jnp.asarray(step_size)))
    return {"step_size": step_size, **{key: value.item() for key, value in found.items()}}


@functools.cache
def program(target: str, data: Path, seed: int) -> Any:
    """``step_size ->`` the exponent of the sequential chain, and how each solver fares."""
    hard = HARD[target](data)

    def compare(step_size):
        kernel = pm.mala(hard.logdensity_fn, step_size, hard.inverse_mass_matrix)
        transition = kernel.at(hard.position)
        state = transition.init(hard.position, None)
        inputs = transition.draw_inputs(jax.random.split(jax.random.key(seed), T), state)
        _, (states, infos), _ = pm.run_sequential(transition, state, inputs)
        x0, x = transition.ravel(state), jax.vmap(transition.ravel)(states)
        exponent = pm.lyapunov_exponent(recursion(transition), x0, inputs, x)
        found = {
            "exponent": exponent.value,
            "exponent_error": exponent.standard_error,
            "acceptance_rate": jnp.mean(infos.acceptance_rate),
        }
        unit = jnp.std(x, axis=0)
        for name, solver in SOLVERS.items():
            _, draws, info = pm.run_parallel(
                transition, state, inputs, solver=solver,
                transform=lambda state, _: transition.ravel(state),
            )  # fmt: skip
            found[f"iterations_{name}"] = info.num_iterations
            found[f"num_sequential_steps_{name}"] = info.num_sequential_steps
            found[f"max_difference_sd_{name}"] = jnp.max(jnp.abs(draws - x) / unit)
        return found

    return jax.jit(compare)


def draw_figure(records: list[Record], path: Path) -> None:
    """Iterations over exponent, a panel per solver."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    panels = figure.subplots(1, len(SOLVERS), sharey=True)
    for panel, solver in zip(panels, SOLVERS, strict=True):
        for target in TARGETS:
            rows = [r for r in records if r["target"] == target and r["exponent"] is not None]
            iterations = np.array([r[f"iterations_{solver}"] for r in rows])
            points = panel.scatter([r["exponent"] for r in rows], iterations, s=18, label=target)
            colour = points.get_facecolor()[0]
            points.set_edgecolor(colour)
            points.set_facecolor(
                [(*colour[:3], n < MAX_ITERATIONS) for n in iterations]  # hollow at the limit
            )
        panel.axvline(0, color="grey", linewidth=0.7)
        panel.set(title=solver, xlabel="Lyapunov exponent, nats per step", yscale="log")
        panel.set_xscale("symlog", linthresh=0.01)
    panels[0].set_ylabel(f"iterations for {T:,} steps")
    panels[-1].legend(frameon=False)
    figure.savefig(path, dpi=120)
