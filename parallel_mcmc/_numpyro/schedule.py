"""Which steps of a chain are taken, and which of them are returned."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._core.auto import any_traced
from parallel_mcmc._numpyro.helpers import Warmup
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.state import ParallelState


class Collect(NamedTuple):
    """What to keep of a number of steps: hashable, as a program is made for it.

    Attributes:
        num_steps: to take.
        kept: which of them to keep.
        fields: of the state, that of the draws first; with dots for what is inside a field.
        removed: sites not to keep.
    """

    num_steps: int
    kept: range
    fields: tuple[str, ...]
    removed: tuple[str, ...]


def planned(
    collection_params: dict[str, Any],
    thinning: int,
    num_adaptive: int,
    division: int,
    fields: tuple[str, ...],
    removed: tuple[str, ...],
) -> tuple[Collect, Collect, int]:
    """The warm-up, the steps after it, and how many rows to return of both.

    ``collection_params`` are those of NumPyro's `MCMC`; ``num_adaptive`` steps of the warm-up are
    still to be taken, and after it as many as ``division`` says are made for each.
    """
    lower, upper = collection_params["lower"], collection_params["upper"]
    # Of each `thinning` steps the last is kept, and what does not fit is left out in front.
    first = lower + (upper - lower) % thinning + thinning - 1
    kept = range(first, upper, thinning)
    num_adaptive = min(upper, num_adaptive)
    split = sum(step < num_adaptive for step in kept)
    warm = Collect(num_adaptive, kept[:split], fields, removed)
    rest = divided(shifted(kept[split:], num_adaptive), division)
    main = Collect((upper - num_adaptive) * division, rest, fields, removed)
    size = collection_params["collection_size"]
    return warm, main, len(kept) if size is None else size // thinning


def division_of(warmup: Warmup) -> int:
    """Steps that make a draw with ``thinning="auto"``, as the helpers of the first chain found."""
    if any_traced(warmup):
        raise ValueError(
            "thinning='auto' needs chains one after the other or vectorized: give "
            'chain_method="vectorized", or a number of steps.'
        )
    division = int(np.ravel(warmup.division)[0])
    if not division:
        raise ValueError(
            "thinning='auto' was not asked for in the warm-up that this state is of: warm up "
            "anew, or give a number of steps."
        )
    return division


def remaining_warmup(kernel: ParallelKernel, state: ParallelState, fresh: bool) -> int:
    """Steps of the warm-up that are still to be taken, one by one."""
    num_adaptive = kernel.num_adaptive_steps(state.plan.num_warmup)
    if fresh:
        return num_adaptive
    if any_traced(state.i):  # a state that is given to chains run in parallel comes from a warm-up
        return 0
    return max(0, num_adaptive - int(np.asarray(state.i).min()))  # no operation that `jit` traces


def shifted(steps: range, by: int) -> range:
    return range(steps.start - by, steps.stop - by, steps.step)


def divided(steps: range, by: int) -> range:
    """Each step replaced by the last of ``by`` shorter ones."""
    return range(steps.start * by + by - 1, steps.stop * by, steps.step * by)


def joined(parts: list, size: int) -> Any:
    """What was collected in several parts, as one, in ``size`` rows."""
    return jax.tree.map(lambda *leaves: padded(concatenated(leaves), size), *parts)


def concatenated(leaves: tuple) -> Any:
    """Many parts are joined on the host, where their number needs no compilation."""
    if len(leaves) <= 2 or jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        return jnp.concatenate(leaves)
    return jax.device_put(np.concatenate(leaves))


def padded(leaf: Any, size: int) -> Any:
    """Filled up with rows of zeros to ``size``, which is what NumPyro returns if fewer are kept."""
    missing = size - leaf.shape[0]
    if not missing:
        return leaf
    return jnp.concatenate([leaf, jnp.zeros((missing, *leaf.shape[1:]), leaf.dtype)])
