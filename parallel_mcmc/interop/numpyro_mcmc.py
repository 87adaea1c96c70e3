"""`MCMC`: NumPyro's interface, without its loop over draws.

`numpyro.infer.MCMC` asks for one draw after the other, at some microseconds each even where they
have been solved for. Here the chain after the warm-up is one solve, and its draws are taken to
the supports of their sites by one vectorised call of `postprocess_fn`.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC as SequentialMCMC
from numpyro.util import is_prng_key, nested_attrgetter

from parallel_mcmc.auto import any_traced
from parallel_mcmc.interop.numpyro import ParallelKernel
from parallel_mcmc.interop.numpyro_fingerprint import digest
from parallel_mcmc.interop.numpyro_window import (
    Draws,
    Options,
    ParallelState,
    emptied,
    solve_steps,
)
from parallel_mcmc.report import Status, report
from parallel_mcmc.sampling import _advance, progress
from parallel_mcmc.transition import pilot

CHUNK = 1000
"""Draws that are postprocessed at once: a model is replayed for each of them."""


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


class MCMC(SequentialMCMC):
    """`numpyro.infer.MCMC`, with no loop over the draws of a kernel of this package.

    The same arguments, methods and results, and the same draws for the same key. Kernels of
    NumPyro's run as they do there.

    Two things are added: `print_summary` ends with a line on how the chains were
    solved, and a chain that had to be finished step by step raises a `ConvergenceWarning`, once
    per run. With a progress bar it shows the draws solved so far.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> mcmc = pm.MCMC(
    ...     pm.ParallelHMC(model), num_warmup=200, num_samples=500, num_chains=2,
    ...     chain_method="vectorized", progress_bar=False,
    ... )  # fmt: skip
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples(group_by_chain=True)["x"].shape
    (2, 500, 2)
    """

    _solver_choice: str | None = None
    _warmup_states: dict[str, Any] | None = None

    def warmup(self, rng_key: Any, *args: Any, collect_warmup: bool = False, **kwargs: Any) -> None:
        """As `numpyro.infer.MCMC.warmup`; keeps what it collects for `pm.to_inference_data`."""
        super().warmup(rng_key, *args, collect_warmup=collect_warmup, **kwargs)
        self._warmup_states = self._states if collect_warmup else None

    def run(
        self,
        rng_key: Any,
        *args: Any,
        extra_fields: Any = (),
        init_params: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `numpyro.infer.MCMC.run`; warns of chains that were finished step by step."""
        if self._warmup_state is None:
            self._warmup_states = None  # a chain of its own begins
        super().run(rng_key, *args, extra_fields=extra_fields, init_params=init_params, **kwargs)
        if isinstance(self.sampler, ParallelKernel):
            report(self._last_state.solve, "finish", None)

    def transfer_states_to_host(self) -> None:
        """As `numpyro.infer.MCMC.transfer_states_to_host`, with the states of the warm-up."""
        super().transfer_states_to_host()
        self._warmup_states = jax.device_get(self._warmup_states)

    def print_summary(self, prob: float = 0.9, exclude_deterministic: bool = True) -> None:
        """As `numpyro.infer.MCMC.print_summary`, and a line on the solve."""
        super().print_summary(prob=prob, exclude_deterministic=exclude_deterministic)
        if isinstance(self.sampler, ParallelKernel):
            print(self.solve_summary())

    def solve_summary(self) -> str:
        """The solve of the last run in a line: chains, iterations, residual, steps by hand."""
        solve = jax.tree.map(np.atleast_1d, jax.device_get(self._last_state.solve))
        if not solve.num_iterations.any():
            return f"Run step by step ({self._solver_choice})"
        converged = int(np.sum(solve.status == Status.CONVERGED))
        low, high = int(solve.num_iterations.min()), int(solve.num_iterations.max())
        return (
            f"Solved in parallel: {converged} of {solve.status.size} chains converged, "
            f"{low if low == high else f'{low}-{high}'} iterations for {self.num_samples} draws, "
            f"residual {solve.residual.max():.1e}, "
            f"{int(solve.num_sequential_steps.sum())} steps one by one ({self._solver_choice})"
        )

    def _single_chain_mcmc(self, init, args, kwargs, collect_fields, remove_sites):
        kernel = self.sampler
        if not isinstance(kernel, ParallelKernel):
            return super()._single_chain_mcmc(init, args, kwargs, collect_fields, remove_sites)
        rng_key, state, init_params = init
        fresh = state is None
        if fresh or kernel._sample_fn is None:
            new = kernel.init(rng_key, self.num_warmup, init_params, args, kwargs)
            state = new if fresh else state
        one = is_prng_key(rng_key)
        total, kept, size = self._schedule()
        num_adaptive = min(total, remaining_warmup(kernel, state, fresh))
        split = sum(step < num_adaptive for step in kept)
        warm = Collect(num_adaptive, kept[:split], collect_fields, remove_sites)
        rest = shifted(kept[split:], num_adaptive)
        main = Collect(total - num_adaptive, rest, collect_fields, remove_sites)

        parts = []
        if warm.num_steps:
            collected, state = self._program("warm-up", one, warm, None, args, kwargs)(state)
            parts.append(collected)
        if main.num_steps:
            options = self._choose(state, one, main.num_steps, args, kwargs)
            run = self._program("solve", one, main, options, args, kwargs)
            shown = self._shows_progress(state)
            chains = 1 if one else self.num_chains
            with progress(chains * main.num_steps) if shown else contextlib.nullcontext():
                collected, state = run(state)
                if shown:
                    jax.block_until_ready(state)
            parts.append(collected)
        if not parts:  # of a run of no steps, as NumPyro makes to compile
            parts = [self._program("none", one, main, None, args, kwargs)(state)[0]]
        collected = jax.tree.map(lambda *leaves: padded(jnp.concatenate(leaves), size), *parts)
        return dict(zip(collect_fields, collected, strict=True)), state

    def _schedule(self) -> tuple[int, range, int]:
        """How many steps to take, which to keep, and how many rows to return."""
        lower, upper = self._collection_params["lower"], self._collection_params["upper"]
        size = self._collection_params["collection_size"]
        # Of each `thinning` steps the last is kept, and what does not fit is left out in front.
        first = lower + (upper - lower) % self.thinning + self.thinning - 1
        kept = range(first, upper, self.thinning)
        return upper, kept, len(kept) if size is None else size // self.thinning

    def _choose(self, state, one, num_steps, args, kwargs):
        """The solver and window: a pilot from where the first chain has come to, if it is there."""
        kernel = self.sampler
        first = state if one else jax.tree.map(lambda leaf: leaf[0], state)

        def attempt(solver, num_steps, limit):
            potential_fn = kernel.target(args, kwargs)
            chain = kernel.chain(potential_fn, first.z, first.adapt_state, (args, kwargs))
            start = chain.transition.unravel(first.x)
            return pilot(
                chain.transition, solver, num_steps, first.rng_key, start, kernel.tol, limit
            )

        traced = any_traced((state, args, kwargs))
        together = self.num_chains if traced or not one else 1
        options, _, self._solver_choice = kernel.options(
            first.x, num_steps, None if traced else attempt, together
        )
        return options

    def _program(self, name, one, collect, options, args, kwargs):
        """The compiled function ``state -> (collected, state)``, kept for the next run."""
        kernel, postprocess_fn = self.sampler, self.postprocess_fn
        shows_progress = self.progress_bar and name == "solve"

        def run_chain(index, state, args, kwargs):
            target = kernel.target(args, kwargs)
            postprocess = postprocess_fn or kernel.postprocess_fn(args, kwargs)
            if name == "solve":
                tell = functools.partial(jax.debug.callback, _advance, index)
                history, state = solved(
                    kernel, target, (args, kwargs), state, collect.num_steps, options,
                    tell if shows_progress else None,
                )  # fmt: skip
            else:
                history, state = adapted(kernel, target, (args, kwargs), state, collect)
            return finished(history, collect, postprocess), state

        def run(state, args, kwargs):
            if one:
                return run_chain(0, state, args, kwargs)
            chains = jnp.arange(state.i.shape[0])
            collected, state = jax.vmap(run_chain, (0, 0, None, None))(chains, state, args, kwargs)
            # NumPyro wants the draws of vectorized chains with time in front.
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), collected), state

        if any_traced((args, kwargs)):
            return functools.partial(run, args=args, kwargs=kwargs)
        # Arguments that the program holds as constants are known by their contents.
        data = None if self._jit_model_args else digest((args, kwargs))
        key = name, one, collect, options, shows_progress, data
        if key not in self._cache:
            if self._jit_model_args:
                self._cache[key] = jax.jit(run)
            else:
                self._cache[key] = jax.jit(functools.partial(run, args=args, kwargs=kwargs))
        program = self._cache[key]
        if self._jit_model_args:
            return lambda state: program(state, args, kwargs)
        return program

    def _shows_progress(self, state: ParallelState) -> bool:
        return self.progress_bar and not any_traced(state)


def remaining_warmup(kernel: ParallelKernel, state: ParallelState, fresh: bool) -> int:
    """Steps of the warm-up that are still to be taken, one by one."""
    num_adaptive = kernel.num_adaptive_steps(state.plan.num_warmup)
    if fresh:
        return num_adaptive
    if any_traced(state.i):  # a state that is given to chains run in parallel comes from a warm-up
        return 0
    return max(0, num_adaptive - int(jnp.min(state.i)))


def shifted(steps: range, by: int) -> range:
    return range(steps.start - by, steps.stop - by, steps.step)


def padded(leaf: Any, size: int) -> Any:
    """With rows of zeros up to ``size``, as NumPyro returns where fewer are kept."""
    missing = size - leaf.shape[0]
    if not missing:
        return leaf
    return jnp.concatenate([leaf, jnp.zeros((missing, *leaf.shape[1:]), leaf.dtype)])


def adapted(
    kernel: ParallelKernel, potential_fn: Callable, model_args: tuple, state: Any, collect: Collect
) -> tuple[Any, ParallelState]:
    """The warm-up, step by step."""
    pick = nested_attrgetter(*collect.fields)
    buffer = state.buffer

    def step(state, _):
        state = kernel.adaptive_step(state, potential_fn, model_args)
        return state, pick(state) if collect.kept else None

    state = state._replace(buffer=())
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], pick(state))
    state, history = jax.lax.scan(step, state, None, length=collect.num_steps)
    return history if collect.kept else first, state._replace(buffer=buffer)


def solved(
    kernel: ParallelKernel,
    potential_fn: Callable,
    model_args: tuple,
    state: ParallelState,
    num_steps: int,
    options: Options,
    tell: Callable | None,
) -> tuple[ParallelState, ParallelState]:
    """All states of the chain, with a leading axis of time, and the last one."""
    chain = kernel.chain(potential_fn, state.z, state.adapt_state, model_args)
    draws, info = solve_steps(chain, state.x, state.rng_key, state.i, num_steps, options, tell)

    def throughout(tree):
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_steps, *leaf.shape)), tree)

    steps = jnp.arange(1, num_steps + 1, dtype=state.i.dtype)
    history = state._replace(
        i=state.i + steps,
        mean_accept_prob=means(state, draws),
        adapt_state=throughout(state.adapt_state),
        rng_key=throughout(state.rng_key),
        solve=throughout(info),
        buffer=(),
        **draws._asdict(),
    )
    last = jax.tree.map(lambda leaf: leaf[-1], history)
    return history, emptied(last._replace(buffer=state.buffer))


def means(state: ParallelState, draws: Draws) -> Any:
    """The mean acceptance up to each draw, counted anew from the end of the warm-up on."""
    rates, end = draws.accept_prob, state.plan.num_warmup
    done = jnp.where(state.i < end, state.i, state.i - end)
    sums = jnp.cumsum(rates)
    steps = jnp.arange(1, rates.size + 1)
    running = (state.mean_accept_prob * done + sums) / (done + steps)
    # Chains that adapt nothing are solved across the end of the warm-up.
    ahead = end - state.i
    before = jnp.where(ahead > 0, sums[jnp.clip(ahead - 1, 0, rates.size - 1)], 0)
    anew = (sums - before) / jnp.maximum(1, steps - ahead)
    crossed = (ahead > 0) & (steps > ahead)
    return jnp.where(crossed, anew, running).astype(rates.dtype)


def finished(history: Any, collect: Collect, postprocess: Callable) -> tuple:
    """The fields to collect, of the steps to keep, the draws as the user wants them."""
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
        draws = {name: value for name, value in draws.items() if name not in collect.removed}
    fields = (draws, *others)
    return fields if kept else jax.tree.map(lambda leaf: leaf[:0], fields)
