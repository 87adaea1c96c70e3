"""`sample` without a store: chains made step by step, in windows that Ctrl-C ends.

A parallel solve is one window: several would each take their own iterations, one after the other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._mcmc.progress import note
from parallel_mcmc._store.interruption import in_memory
from parallel_mcmc._store.windows import report_on


class Drawn(NamedTuple):
    """A window: the states of the chains after it, its draws and statistics, and its report."""

    state: Any
    kept: Any
    solve: SolveInfo


def draw_in_memory(
    draw: Callable[[int, Any, Any], tuple], states: Any, rows: int, num_samples: int, bar: int
) -> tuple[Any, dict[str, Any], SolveInfo, Any]:
    """All draws, or those of the windows before an interruption.

    Args:
        draw: ``(num_steps, states, begin) -> (states, position, stats, solve, predictability)`` of
            the steps from ``begin`` on; None where they are all steps.
        states: of the chains at the start.
        rows: draws of a window; the last is as long as the others.
        num_samples: draws wanted of each chain.
        bar: number of a bar to move; 0 for none.

    Returns:
        What ``draw`` returns, except the states.
    """
    whole, predictability = rows == num_samples, None

    def draw_window(states: Any, number: int, num_steps: int) -> Drawn:
        nonlocal predictability
        begin = None if whole else jnp.asarray(number * rows)
        states, position, stats, solve, predictability = draw(num_steps, states, begin)
        return Drawn(states, (position, stats), solve)

    def tell(there: int, drawn: Drawn) -> None:
        if not whole:
            note(bar, there * drawn.solve.status.size)

    parts = in_memory(draw_window, states, rows, num_samples, tell, "", 5)
    if len(parts) == 1:
        return *parts[0].kept, parts[0].solve, predictability
    solve = report_on([[part.solve] for part in parts], rows, parts[0].solve)
    kept = jax.tree.map(
        lambda *leaves: jax.device_put(np.concatenate(leaves, axis=1)),
        *[part.kept for part in parts],
    )
    return *kept, solve, predictability
