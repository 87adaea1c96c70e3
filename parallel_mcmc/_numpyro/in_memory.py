"""The draws of a run of `MCMC` without a store, once its chains are warmed up.

Chains that are made step by step are made in windows, each of all chains, by one program: that
takes no more steps, and Ctrl-C ends the run at the next window. A parallel solve is one window,
as each would take its own iterations, one window after the other: for 40,000 draws of a small
hierarchical model 59 in four windows, and 14 in one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._core.programs import ready
from parallel_mcmc._mcmc.progress import note, showing
from parallel_mcmc._numpyro.bars import divergences, facts
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.schedule import Collect, joined
from parallel_mcmc._numpyro.state import Options, ParallelState
from parallel_mcmc._numpyro.stored import Arguments, run_once
from parallel_mcmc._store.interruption import equally_long, in_memory
from parallel_mcmc._store.windows import report_on

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.mcmc import MCMC

OF_A_SOLVE = ("solve", "predictability")
"""Fields that are the same for all draws of a solve, and so for all of a run."""

ADVICE = "; go on with `mcmc.post_warmup_state = mcmc.last_state` and another `run`"


OF_A_RUN = (
    "_last_state", "_in_memory", "_states_flat", "_num_missing", "_chosen", "_settings",
    "_division",
)  # fmt: skip
"""What a run without a store leaves in an `MCMC`."""


class Begun(NamedTuple):
    """A chain after its warm-up, or a batch of chains.

    Attributes:
        state: after the warm-up.
        warm: what was collected of it: nothing, or the fields of its steps.
        fields: names of what is collected.
        size: rows of all draws, those of the warm-up included.
        main: the steps after the warm-up.
        window: those of one window.
        run: ``(state, bar) -> (collected, state)`` of a window.
    """

    state: ParallelState
    warm: list
    fields: tuple[str, ...]
    size: int
    main: Collect
    window: Collect
    run: Callable


class Drawn(NamedTuple):
    """A window: of each chain, or batch of chains, the state after it and what was collected."""

    state: tuple[ParallelState, ...]
    collected: tuple[Any, ...]


@contextlib.contextmanager
def kept_unless_replaced(mcmc: "MCMC") -> Iterator[None]:
    """What raises in a run leaves the one before as it was."""
    before = {name: getattr(mcmc, name) for name in OF_A_RUN}
    try:
        yield
    except BaseException:
        for name, value in before.items():
            setattr(mcmc, name, value)
        raise


def window_of(main: Collect, kernel: ParallelKernel, options: Options, shown: bool) -> Collect:
    """The steps of a window: as many each time, or all where they are to be one program."""
    kept = main.kept
    evenly = kept.start == kept.step - 1 and len(kept) * kept.step == main.num_steps
    of_all = any(field.split(".")[0] in OF_A_SOLVE for field in main.fields)
    if options.solver.linearize is not None or kernel.diagnose or of_all or not evenly:
        return main
    num_steps = equally_long(len(kept), shown) * kept.step
    return main._replace(num_steps=num_steps, kept=range(kept.start, num_steps, kept.step))


def run_in_memory(mcmc: "MCMC", given: Arguments) -> None:
    """NumPyro's `run`, in which chains are warmed up one after the other; then draws of all.

    Chains in parallel on several devices, and those on a mesh, draw where they are warmed up.
    """
    one_by_one = mcmc.num_chains == 1 or mcmc.chain_method in ("sequential", "vectorized")
    is_warmup = mcmc._collection_params["phase"] == "warmup"
    mcmc._begun = [] if one_by_one and not is_warmup and mcmc._mesh is None else None
    mcmc._num_missing = 0
    try:
        run_once(mcmc, given)
        if mcmc._begun:
            draw_all(mcmc, mcmc._begun)
    finally:
        mcmc._begun = None


def draw_all(mcmc: "MCMC", begun: list[Begun]) -> None:
    """Draw for all chains of a run, and leave in the `MCMC` what NumPyro's `run` does."""
    first = begun[0]
    rows, num_rows = len(first.window.kept), len(first.main.kept)
    is_one = first.window == first.main
    num_steps = mcmc.num_chains * first.main.num_steps

    def draw(states: tuple, number: int, num_rows: int) -> Drawn:
        made = []
        for chain, state in zip(begun, states, strict=True):
            with showing(num_steps // len(begun), mcmc.progress_bar and is_one) as bar:
                found, state = ready(chain.run((state, bar)))
                if bar:
                    note(bar, **facts([state]), divergences=divergences(first.fields, [found]))
            made.append((found, state))
        return Drawn(tuple(state for _, state in made), tuple(found for found, _ in made))

    with showing(num_steps, mcmc.progress_bar and not is_one) as bar:
        num_divergences: Any = 0

        def tell(num_rows: int, drawn: Drawn) -> None:
            nonlocal num_divergences
            if bar:
                num_divergences += divergences(first.fields, drawn.collected)
                found = facts(drawn.state) | {"divergences": num_divergences}
                note(bar, num_rows * first.main.kept.step * mcmc.num_chains, **found)

        start = tuple(chain.state for chain in begun)
        # A run that keeps no draw is one window of all its steps.
        parts = in_memory(draw, start, rows or 1, num_rows or 1, tell, ADVICE, 6)
    missing = num_rows - rows * len(parts)
    by_batch = [
        joined([*chain.warm, *(part.collected[i] for part in parts)], chain.size - missing)
        for i, chain in enumerate(begun)
    ]
    mcmc._num_missing = missing * mcmc.thinning
    mcmc._states = dict(zip(first.fields, over_chains(mcmc, by_batch), strict=True))
    mcmc._states_flat = None
    mcmc._last_state = last_state(parts, rows)


def over_chains(mcmc: "MCMC", by_batch: list) -> Any:
    """With chains in front and draws behind, as NumPyro keeps them."""
    if mcmc.num_chains == 1:
        return jax.tree.map(lambda leaf: leaf[jnp.newaxis], by_batch[0])
    if len(by_batch) == 1:
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), by_batch[0])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *by_batch)


def last_state(parts: list[Drawn], rows: int) -> ParallelState:
    """Of all chains, with a report on all windows."""
    ends = parts[-1].state
    state = ends[0] if len(ends) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends)
    if len(parts) == 1:
        return state
    return state._replace(
        solve=report_on([[end.solve for end in part.state] for part in parts], rows, state.solve)
    )
