"""`sample` with a store: a window of draws is written while the next is drawn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._core.auto import Auto, Choice, auto
from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.progress import counting
from parallel_mcmc._mcmc.trace import Trace, settings_of
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._store import identity
from parallel_mcmc._store.store import Store
from parallel_mcmc._store.windows import StoredRun, Window, check_names, draw_in_windows, rows_of


def identity_of(
    transition: Transition, keys: Any, states: Any, positions: Any, solver: Solver | Auto | None
) -> dict[str, Any]:
    """What must be the same for a stored run to go on."""
    key, state = jax.tree.map(lambda leaf: leaf[0], (keys, states))

    def step(state, rng_key):
        inputs = transition.draw_inputs(rng_key, state)
        return transition.step(state, jax.tree.map(lambda leaf: leaf[0], inputs))

    return {
        "num_chains": len(keys),
        "kernel, log density or data": identity.program(step, state, key[None]),
        "rng_key": identity.values(keys),
        "initial_position": identity.values(positions),
        "solver": repr(auto() if solver is None else solver),
    }


def sample_stored(
    path: Any,
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
        path: of the store.
        made_of: see `identity_of`.
        states: of the chains at the start.
        num_samples, window, progress_bar: of `sample`.
        choose: the solver for so many steps.
        draw: ``(choice, num_steps, states, begin) -> (states, position, stats, solve)`` of the
            steps from ``begin`` on.
    """
    from parallel_mcmc._arviz import attributes, datasets_of, named_arrays

    num_chains = made_of["num_chains"]
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states.position))
    names = tuple(named_arrays(states.position))
    check_names(names)
    with Store(path) as store:
        rows = rows_of(store, made_of, num_bytes, window)
        choice = choose(rows)
        settings = settings_of(choice) | {"store": str(store.path)}

        def draw_window(states: Any, number: int, num_steps: int) -> Window:
            begin = jnp.asarray(number * rows)
            states, position, stats, solve = draw(choice, num_steps, states, begin)
            data = Trace(position, stats, solve, settings).to_inference_data()
            return Window(states, solve, datasets_of(data))

        def described(solve: SolveInfo, states: Any) -> dict[str, Any]:
            return attributes(solve, settings)

        with counting(num_chains * num_samples, progress_bar) as tell:
            run = StoredRun(
                made_of, rows, lambda: states, lambda: states, lambda first: None, draw_window,
                described, lambda draws: tell(num_chains * draws),
            )  # fmt: skip
            stored = draw_in_windows(store, run, num_samples)
        arrays = [store.array("posterior", name) for name in names]
        position = jax.tree.unflatten(jax.tree.structure(states.position), arrays)
        return Trace(position, store.arrays("sample_stats"), stored.solve, settings)
