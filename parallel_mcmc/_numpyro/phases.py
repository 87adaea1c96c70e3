"""The phases of a chain, each as one program: a warm-up step by step, and one solve.

Each returns what is to be collected of all its steps, with time in front, and the last state.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from numpyro.util import nested_attrgetter

from parallel_mcmc._core import across
from parallel_mcmc._core.mesh import CHAINS, TIME, over_devices, probes_on, spec, time_axis
from parallel_mcmc._mcmc.progress import advance, iterated
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.next_step import adapted_until
from parallel_mcmc._numpyro.schedule import Collect
from parallel_mcmc._numpyro.state import Draws, Options, ParallelState
from parallel_mcmc._numpyro.window import emptied, solve_steps

CHUNK = 1000
"""Draws that are postprocessed at once: a model is replayed for each of them."""


def phase(
    kernel: ParallelKernel,
    one: bool,
    collect: Collect,
    options: Options | None,
    shows_progress: bool,
    postprocess_fn: Callable | None,
    mesh: Mesh | None = None,
) -> Callable:
    """``((state, bar), args, kwargs) -> (collected, state)``, of one chain or of a batch.

    With ``options`` it is a solve, as they say, and maybe on a mesh. Without them it is the
    warm-up, and takes the number of its steps in place of ``bar`` if they are not collected.
    """
    iterates = mesh is None and options is not None and options.solver.linearize is not None
    moved = iterated if iterates else advance

    def run_chain(bar, index, state, args, kwargs, collect=collect, probes_key=None):
        target = kernel.target(args, kwargs)
        postprocess = postprocess_fn or kernel.postprocess_fn(args, kwargs)
        if options is not None:
            tell = functools.partial(jax.debug.callback, moved, bar, index)
            with_gradients = any(field.split(".")[0] == "z_grad" for field in collect.fields)
            history, state = solved(
                kernel, target, (args, kwargs), state, collect.num_steps, options,
                tell if shows_progress else None, with_gradients, probes_key,
            )  # fmt: skip
        else:
            history, state = adapted(kernel, target, (args, kwargs), state, collect, bar)
        return finished(history, collect, postprocess), state

    def run(values, args, kwargs):
        state, bar = values
        if mesh is not None:
            return run_on_mesh(run_chain, mesh, one, collect, options, state, bar, args, kwargs)
        if one:
            return run_chain(bar, 0, state, args, kwargs)
        chains = jnp.arange(state.i.shape[0])
        collected, state = jax.vmap(run_chain, (None, 0, 0, None, None))(
            bar, chains, state, args, kwargs
        )
        # NumPyro wants the draws of vectorized chains with time in front.
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), collected), state

    return run


def run_on_mesh(run_chain, mesh, one, collect, options, state, bar, args, kwargs):
    """`phase` with chains, and time, over the devices of a mesh: see `parallel_mcmc._mcmc.on_mesh`.

    Each device collects what it has drawn.
    """
    if one:
        state = jax.tree.map(lambda leaf: leaf[None], state)
    axis = time_axis(mesh)
    num_steps, kept = collect.num_steps, collect.kept
    if axis is not None:
        if num_steps % axis.size or len(kept) % axis.size or kept.start >= kept.step:
            raise ValueError(
                f"The {axis.size} devices of the mesh's axis 'time' must divide the draws, got "
                f"{len(kept):,} of {num_steps:,} steps; take a multiple of both."
            )
        num_steps, end = num_steps // axis.size, len(kept) // axis.size
        kept = range(kept.start, kept.start + end * kept.step, kept.step)
    part = collect._replace(num_steps=num_steps, kept=kept)
    shape = collect.num_steps, state.x.shape[1]
    linearize = options.solver.last.linearize
    probes, of_probes = probes_on(mesh, linearize, jax.random.key(0), shape, state.x.dtype)

    def piece(chains, state, bar, probes, args, kwargs):
        def run(chain, state):
            return run_chain(bar, chain, state, args, kwargs, part, probes)

        return jax.vmap(run)(chains, state)

    of_chains, everywhere = spec(mesh, CHAINS), spec(mesh)
    collected, state = over_devices(
        mesh, piece, (of_chains, of_chains, everywhere, of_probes, everywhere, everywhere),
        (spec(mesh, CHAINS, TIME), of_chains),
    )(jnp.arange(state.i.shape[0]), state, bar, probes, args, kwargs)  # fmt: skip
    if one:
        return jax.tree.map(lambda leaf: leaf[0], (collected, state))
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), collected), state


def adapted(
    kernel: ParallelKernel,
    potential_fn: Callable,
    model_args: tuple,
    state: Any,
    collect: Collect,
    num_steps: Any,
) -> tuple[Any, ParallelState]:
    """The warm-up, step by step; nothing is done for chains that helpers have warmed up.

    It takes ``num_steps`` steps, whose number need not be known at compilation, or all steps if
    they are collected.
    """
    pick = nested_attrgetter(*collect.fields)

    def steps(state, number):
        return adapted_until(kernel, state, potential_fn, model_args, state.i + number)

    if not collect.kept:
        first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], pick(state))
        return first, steps(state, num_steps)

    def step(state, _):
        state = steps(state, 1)
        return state, pick(state)

    buffer = state.buffer
    state, history = jax.lax.scan(step, state._replace(buffer=()), None, length=collect.num_steps)
    return history, state._replace(buffer=buffer)


def solved(
    kernel: ParallelKernel,
    potential_fn: Callable,
    model_args: tuple,
    state: ParallelState,
    num_steps: int,
    options: Options,
    tell: Callable | None,
    with_gradients: bool,
    probes_key: Any,
) -> tuple[ParallelState, ParallelState]:
    """All states of the chain, with a leading axis of time, and the last one.

    Without gradients ``z_grad`` has only the last row. On a mesh the states are those of a device.
    """
    chain = kernel.chain(potential_fn, state.z, state.adapt_state, model_args)
    draws, info, predictability = solve_steps(
        chain, state.x, state.rng_key, state.i, num_steps, options, kernel.diagnose, tell,
        with_gradients, probes_key,
    )  # fmt: skip

    def throughout(tree):
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_steps, *leaf.shape)), tree)

    steps = 1 + across.numbers(num_steps, state.i.dtype)
    history = state._replace(
        i=state.i + steps,
        mean_accept_prob=means(state, draws),
        adapt_state=throughout(state.adapt_state),
        rng_key=throughout(state.rng_key),
        warmup=throughout(state.warmup),
        solve=throughout(info),
        predictability=throughout(predictability),
        buffer=(),
        **draws._asdict(),
    )
    last = across.of_last(jax.tree.map(lambda leaf: leaf[-1], history))
    return history, emptied(last._replace(buffer=state.buffer))


def means(state: ParallelState, draws: Draws) -> Any:
    """The mean acceptance up to each draw; it starts anew at the end of the warm-up."""
    rates, end = draws.accept_prob, state.plan.num_warmup
    done = jnp.where(state.i < end, state.i, state.i - end)
    sums = across.summed_up(jnp.cumsum(rates))
    steps = 1 + across.numbers(rates.size)
    running = (state.mean_accept_prob * done + sums) / (done + steps)
    # Chains that adapt nothing are solved across the end of the warm-up.
    ahead = end - state.i
    last = across.row_of(sums, jnp.clip(ahead - 1, 0, across.whole(rates.size) - 1))
    before = jnp.where(ahead > 0, last, 0)
    anew = (sums - before) / jnp.maximum(1, steps - ahead)
    crossed = (ahead > 0) & (steps > ahead)
    return jnp.where(crossed, anew, running).astype(rates.dtype)


def finished(history: Any, collect: Collect, postprocess: Callable) -> tuple:
    """The fields to collect, at the steps to keep, with draws in the form the user wants."""
    kept = collect.kept
    rows = slice(kept.start, kept.stop, kept.step) if kept else slice(0, 1)
    if isinstance(history, ParallelState):
        history = nested_attrgetter(*collect.fields)(history)
    fields = (history,) if len(collect.fields) == 1 else tuple(history)
    draws, *others = jax.tree.map(lambda leaf: leaf[rows], fields)
    if len(kept) > CHUNK:
        draws = jax.lax.map(postprocess, draws, batch_size=CHUNK)
    else:
        draws = jax.vmap(postprocess)(draws)
    if collect.removed:
        unknown = set(collect.removed) - set(draws)
        if unknown:
            raise KeyError(f"No sites {sorted(unknown)} to leave out; there are {sorted(draws)}.")
        draws = {name: value for name, value in draws.items() if name not in collect.removed}
    fields = (draws, *others)
    return fields if kept else jax.tree.map(lambda leaf: leaf[:0], fields)
