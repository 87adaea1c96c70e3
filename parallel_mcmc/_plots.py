"""Pictures: how the iterations of a solve proceed, and how a chain treats perturbations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._core import across
from parallel_mcmc._core.auto import Auto
from parallel_mcmc._core.checks import num_steps_of
from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._core.iteration import iterate
from parallel_mcmc._core.keys import check_keys
from parallel_mcmc._core.outcome import Block, Limits
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.report import most_ties
from parallel_mcmc._core.rows import first_of
from parallel_mcmc._core.solve import of_vectors
from parallel_mcmc._core.solver import MOST_ITERATIONS, Solver
from parallel_mcmc._core.solvers import deer
from parallel_mcmc._core.tolerance import aimed_at, scaled
from parallel_mcmc._mcmc.kernel import Kernel, transition_at
from parallel_mcmc._mcmc.transition import Transition, keys_of_steps, recursion

MOST_DECADES = 1.0
"""Log10 of the residual, in spreads of the chain, from which on the colour stays the same."""


def plot_convergence(
    f: Any,
    x0: Any,
    inputs: Any,
    *,
    num_samples: int = 300,
    solver: Solver | None = None,
    ax: Any = None,
) -> Any:
    """Draw how far each step is from solved, iteration by iteration.

    A row is one iteration, a column one step of the chain, and the colour log10 of the step's
    residual in spreads of the chain, darkest where only rounding is left. Left of the dashed line
    a step is exact whatever the solver; what is dark to the right of it is gained by solving all
    steps at once.

    Args:
        f: a recursion ``(x, u) -> x`` as in `solve`; or a kernel or BlackJAX algorithm as in
            `sample`.
        x0: the state before the first step; of a kernel, the position to start from.
        inputs: u_1..u_T; of a kernel, the key that `sample` would get.
        num_samples: of a kernel, the steps to solve. A picture has room for a few hundred.
        solver: `deer()` by default, or another that iterates. Its ``max_iterations`` is the limit.
        ax: where to draw; by default in a figure of its own.

    Returns:
        The Axes. Nothing is shown or saved.

    Raises:
        TypeError, ValueError: for arguments that do not fit.

    A solve does not keep its residuals. They come from solves that stop after 1, 2, ... iterations,
    by one compiled program: K iterations cost about K^2 / 2, and K T numbers.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    >>> ax = pm.plot_convergence(kernel, jnp.zeros(2), jax.random.key(0), num_samples=100)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('step of the chain', 'iteration')
    """
    solver = deer() if solver is None else solver
    if isinstance(solver, Auto) or getattr(solver, "linearize", None) is None:
        raise ValueError(
            f"There are no iterations of {solver!r} to draw; give a solver that iterates, such as "
            "pm.deer() or pm.jacobi()."
        )
    ties = 0
    if isinstance(f, Kernel | Transition) or hasattr(f, "init"):
        f, x0, inputs = recursion_of(f, x0, inputs, num_samples)
        ties = most_ties(num_samples)
    residuals, num_solved = residuals_of_iterations(f, x0, inputs, solver, ties)
    K, T = residuals.shape
    floor = aimed_at(None, residuals.dtype)
    ax = new_axes() if ax is None else ax
    image = ax.imshow(
        np.log10(np.clip(residuals, floor, np.finfo(residuals.dtype).max)),
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, T + 0.5, K + 0.5, 0.5),
        vmin=np.log10(floor),
        vmax=MOST_DECADES,
        cmap="magma",
    )
    ax.plot([0, K], [1, K + 1], color="w", ls="--", lw=1)
    left = "" if num_solved == T else f", {num_solved} of {T} steps solved"
    ax.set_title(f"{solver.name}: {K} iteration{'s' * (K > 1)}{left}", loc="left")
    ax.set(xlabel="step of the chain", ylabel="iteration")
    ax.set(xlim=(0.5, T + 0.5), ylim=(K + 0.5, 0.5))
    ax.figure.colorbar(image, ax=ax, label="log10 of the residual, in spreads")
    return ax


def recursion_of(kernel: Any, position: Any, rng_key: Any, num_steps: int) -> tuple[Any, Any, Any]:
    """f, x0 and the inputs of the chain that `sample` draws with this key."""
    position = jax.tree.map(jnp.asarray, position)
    transition = transition_at(kernel, position)
    key, start_key = jax.random.split(rng_key)
    state = transition.init(position, start_key)
    inputs = transition.draw_inputs(keys_of_steps(key, num_steps), state)
    return recursion(transition), transition.ravel(state), inputs


def residuals_of_iterations(
    f: Any, x0: Any, inputs: Any, solver: Solver, ties: int = 0
) -> tuple[np.ndarray, int]:
    """Residuals ``(K, T)``, in spreads, of the states that each iteration evaluates.

    Also how many leading steps are solved in the end. The spread is that of the last iteration.
    """
    rows: list[Any] = []
    scale, k = None, 0
    for limit in range(1, (solver.max_iterations or MOST_ITERATIONS) + 1):
        num_iterations, *last = _stopped(f, solver, ties, x0, inputs, jnp.asarray(limit))
        if num_iterations < limit:
            break
        row, scale, k = last
        rows.append(row)
    assert scale is not None
    sizes = [np.asarray(jnp.max(scaled(row, scale), axis=-1)) for row in rows]
    return np.stack(sizes), int(k)


@compiled(num_static=3)
def _stopped(f, solver, ties, x0, inputs, limit):
    """A solve that stops after ``limit`` iterations: how many it made, and its residuals."""
    step, vector0, *_ = of_vectors(f, x0, inputs, None)
    step, num_steps = across.alone(step), num_steps_of(inputs)
    check_keys(step, vector0, jax.eval_shape(first_of, inputs))
    tol = jnp.asarray(solver.tol or 0, vector0.dtype)
    limits = Limits(tol, limit.astype(jnp.int32), scale=None, most_ties=ties)
    zero = jnp.zeros((), jnp.int32)
    block = Block(vector0, inputs, zero + num_steps, num_steps, True, zero)
    guess = jnp.broadcast_to(vector0, (num_steps, vector0.size))
    with jax.default_matmul_precision("highest"):  # as in `solve_vectors`
        done, judged = iterate(
            step, solver, block, guess, zero, zero, limits, rng_key=jax.random.key(0)
        )
    residual = done.f_values - done.states
    return done.num_iterations, residual, judged.scale, jnp.minimum(judged.k, num_steps)


def plot_predictability(result: Any, *, ax: Any = None) -> Any:
    """Draw what becomes of a small perturbation, step by step, in each chain.

    A line falls where the chain forgets, and a parallel solve can pay; it rises where perturbations
    grow. Its slope is the chain's Lyapunov exponent, and the band two standard errors of it. The
    lines go on for as many steps as the slowest chain is expected to need Jacobi iterations.

    Args:
        result: a `Trace`, a `Solution` or a run `MCMC` with ``diagnose=True``; or a
            `Predictability`.
        ax: where to draw; by default in a figure of its own.

    Returns:
        The Axes. Nothing is shown or saved. A chain whose exponent is not finite has an entry in
        the legend alone.

    Raises:
        ValueError: if nothing was diagnosed.

    It costs nothing but the drawing. A run keeps the mean growth per step, not that of each step.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> f = lambda x, u: 0.5 * x + u
    >>> solution = pm.solve(f, jnp.zeros(1), jnp.ones((400, 1)), diagnose=True)
    >>> pm.plot_predictability(solution).get_legend().get_texts()[0].get_text()
    'exponent -0.693 +- 0.000'
    """
    result = getattr(result, "last_state", result)
    found = (
        result if isinstance(result, Predictability) else getattr(result, "predictability", None)
    )
    if found is None or not np.any(np.asarray(found.num_steps)):
        raise ValueError("Nothing was diagnosed; run with `diagnose=True`.")
    exponents, errors, iterations = (
        np.atleast_1d(np.asarray(value, float))
        for value in (found.exponent, found.standard_error, found.expected_iterations)
    )
    ax = new_axes() if ax is None else ax
    known = iterations[np.isfinite(iterations)]
    steps = np.arange(int(known.max(initial=1.0)) + 1)
    for i, (exponent, error) in enumerate(zip(exponents, errors, strict=True)):
        label = f"exponent {exponent:.3f} +- {error:.3f}"
        label = f"chain {i}: {label}" if exponents.size > 1 else label
        if not np.isfinite(exponent):
            ax.plot([], [], color=f"C{i}", label=label)
            continue
        ax.plot(steps, size_after(steps, exponent), color=f"C{i}", label=label)
        if np.isfinite(error):
            bounds = (size_after(steps, exponent + side * error) for side in (-2, 2))
            ax.fill_between(steps, *bounds, color=f"C{i}", alpha=0.2, lw=0)
    ax.axhline(1, color="0.5", lw=1)
    ax.set(xlabel="step", ylabel="size of a perturbation", yscale="log")
    ax.legend()
    return ax


def size_after(steps: np.ndarray, exponent: float) -> np.ndarray:
    """exp(exponent * steps), kept within what a float holds."""
    return np.exp(np.clip(exponent * steps, -700, 700))


def new_axes() -> Any:
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained")[1]
