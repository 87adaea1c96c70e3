"""`sample` with a store: a window of draws is written while the next is drawn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._core.auto import Auto, Choice, auto
from parallel_mcmc._core.solvers import Solver
from parallel_mcmc._mcmc.progress import counting
from parallel_mcmc._mcmc.trace import Trace, settings_of
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._store import identity
from parallel_mcmc._store.store import Store
from parallel_mcmc._store.windows import (
    StoredRun,
    Window,
    draw_in_windows,
    open_run,
    rows_of_window,
)


def identity_of(
    transition: Transition, keys: Any, states: Any, positions: Any, solver: Solver | Auto | None
) -> dict[str, Any]:
    """What must be the same for a stored run to go on."""
    key, state = jax.tree.map(lambda leaf: leaf[0], (keys, states))

    def step(state, key):
        return transition.step(
            state, jax.tree.map(lambda u: u[0], transition.draw_inputs(key, state))
        )

    return {
        "num_chains": len(keys),
        "kernel, log density or data": identity.program(step, state, key[None]),
        "rng_key": identity.values(keys),
        "initial_position": identity.values(positions),
        "solver": repr(auto() if solver is None else solver),
    }


def sample_stored(
    store: Store,
    made_of: dict[str, Any],
    states: Any,
    num_samples: int,
    window: int | None,
    choose: Callable[[int], Choice],
    draw: Callable[[Choice, int, Any, Any], tuple],
    progress_bar: bool,
) -> Trace:
    """As `sample`, with draws on disk.

    Args:
        store: open.
        made_of: see `identity_of`.
        states: of the chains at the start.
        num_samples, window, progress_bar: of `sample`.
        choose: the solver for so many steps.
        draw: ``(choice, num_steps, states, begin) -> (states, position, stats, solve)`` of the
            steps from ``begin`` on.
    """
    from parallel_mcmc._arviz import attributes, datasets_of

    num_chains = made_of["num_chains"]
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states.position))
    rows = open_run(store, made_of) or rows_of_window(num_samples, num_bytes, window)
    choice = choose(rows)
    settings = settings_of(choice) | {"store": str(store.path)}

    def draw_window(states: Any, number: int) -> Window:
        states, position, stats, solve = draw(choice, rows, states, jnp.asarray(number * rows))
        data = Trace(position, stats, solve, settings).to_inference_data()
        return Window(states, solve, datasets_of(data))

    with counting(num_chains * num_samples, progress_bar) as tell:
        run = StoredRun(
            made_of, lambda: states, lambda: states, draw_window,
            lambda draws: tell(num_chains * draws),
        )  # fmt: skip
        stored = draw_in_windows(store, run, num_samples, rows)
    store.describe(attributes(stored.solve, settings))
    named = jax.tree_util.tree_flatten_with_path(states.position)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "x" for path, _ in named[0]]
    arrays = [store.array("posterior", name) for name in names]
    stats = store.arrays("sample_stats")
    return Trace(jax.tree.unflatten(named[1], arrays), stats, stored.solve, settings)
