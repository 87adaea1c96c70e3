"""Which solver the chains of a run get, and how many draws they solve for at once.

If `auto` chooses, it may run a pilot, from where the warm-up has led the first chain.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from parallel_mcmc._core.auto import Choice, any_traced, choose, compares
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._core.lyapunov import Growth
from parallel_mcmc._core.profiles import Profile
from parallel_mcmc._core.programs import within_memory
from parallel_mcmc._mcmc.transition import attempted
from parallel_mcmc._numpyro.state import Chosen, ParallelState, Plan
from parallel_mcmc._numpyro.window import resized

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.kernel import ParallelKernel

WINDOW = 1000
"""Draws in a window of the unmodified `MCMC`, which does not tell a kernel how many it wants."""

SEQUENTIAL_WINDOW = 32
"""The same where a solver takes one step after the other, and a window gains nothing."""


class Run:
    """What the chains of one run share, which bring the very same arguments.

    The next run does not share it, as the model may depend on something that changes in between.

    Attributes:
        args, kwargs: of the model; kept, so that no other objects get their ids.
        num_warmup: as given.
        programs: compiled functions by name.
        has_chosen: whether the first chain, which chooses for all, has done so.
        chosen: what it chose; None if it could not.
    """

    def __init__(self, args: tuple, kwargs: dict, num_warmup: int):
        self.args, self.kwargs, self.num_warmup = args, kwargs, num_warmup
        self.programs: dict[tuple, Callable] = {}
        self.has_chosen = False
        self.chosen: Chosen | None = None

    def is_of(self, args: tuple, kwargs: dict, num_warmup: int) -> bool:
        return self.args is args and self.kwargs is kwargs and self.num_warmup == num_warmup

    def compiled(self, name: tuple, run: Callable, args: tuple, kwargs: dict) -> Callable:
        """``run`` of its first argument, as one program for all chains."""
        run = one_matrix_at_a_time(functools.partial(run, args=args, kwargs=kwargs))
        if any_traced((args, kwargs)):
            return run
        return self.programs.setdefault(name, jax.jit(run))


def choice_for(
    kernel: "ParallelKernel",
    x: Any,
    num_steps: int | None,
    profile: Profile,
    attempt: Callable | None = None,
    chains: int = 1,
    growth: Growth | None = None,
    num_devices: int = 1,
) -> Chosen:
    """The solver for a chain of vectors like ``x``, and the length of its buffer.

    ``num_steps`` is the length of a chain that is solved as a whole, None for a buffer.
    """
    length = kernel.window or WINDOW
    choice = choose(
        kernel.solver, kernel.window, num_steps or length, x, attempt, chains, lambda: profile,
        growth, num_devices,
    )  # fmt: skip
    if num_steps is None and choice.solver.linearize is None and kernel.window is None:
        length = SEQUENTIAL_WINDOW
        choice = choice._replace(window=length)
    return Chosen(choice, length)


def choice_for_buffer(kernel: "ParallelKernel", plan: Plan, x: Any) -> Chosen:
    """The same for a chain that was begun with this plan and hands out draws of a buffer."""
    if plan.options is None:
        return choice_for(kernel, x, None, plan.profile)
    run = kernel._run
    if run is not None and run.chosen and run.chosen.options == plan.options:
        return run.chosen
    solver, window = plan.options.solver, plan.options.window or WINDOW
    return Chosen(Choice(solver, window, f"{solver.name}: as chosen in another run"), window)


def attempt_of(
    kernel: "ParallelKernel",
    state: ParallelState,
    args: tuple,
    kwargs: dict,
    compiled: Callable,
    *name: Any,
) -> Callable:
    """How `auto` runs a pilot from the state of one chain; ``compiled`` as in `begin`."""

    def attempt(solver, num_steps):
        def run(state, args, kwargs):
            arguments = args, kwargs
            chain = kernel.chain(kernel.target(*arguments), state.z, state.adapt_state, arguments)
            start, key = chain.transition.unravel(state.x), state.rng_key
            return attempted(chain.transition, solver, num_steps, key, start)

        program = compiled(("pilot", solver, num_steps, *name), run, args, kwargs)
        return program(state)

    return attempt


def choice_of_run(
    kernel: "ParallelKernel",
    state: ParallelState,
    one: bool,
    num_chains: int,
    num_steps: int,
    args: tuple,
    kwargs: dict,
    compiled: Callable,
    num_devices: int,
    *name: Any,
) -> Chosen:
    """The solver for all chains of a run of `parallel_mcmc.MCMC`, chosen by the first of them.

    Each chain is solved as a whole. If states are traced, as for chains in parallel on several
    devices, no pilot can run.
    """
    first = state if one else jax.tree.map(lambda leaf: leaf[0], state)
    attempt = attempt_of(kernel, first, args, kwargs, compiled, *name)
    traced = any_traced((state, args, kwargs))
    together = num_chains if traced or not one else 1
    profile = state.plan.profile
    if traced:
        return choice_for(kernel, first.x, num_steps, profile, None, together)
    growth = growth_in(first)
    return choice_for(kernel, first.x, num_steps, profile, attempt, together, growth, num_devices)


def growth_in(state: ParallelState) -> Growth | None:
    """The growth of perturbations, as the helpers of one chain have measured it."""
    growth = getattr(state.warmup, "growth", None)
    if growth is None or not np.isfinite(growth.exponent.value):
        return None
    return jax.device_get(growth)


def with_choice(
    kernel: "ParallelKernel", state: ParallelState, one: bool, run: Run
) -> ParallelState:
    """The state of one chain, or a batch, with the solver of the run in its plan.

    Only if helpers have done the warm-up of the first chain: from elsewhere a pilot says little.
    """
    traced = any_traced((state, run.args, run.kwargs))
    if traced or not compares(kernel.solver):
        return state
    if not run.has_chosen:
        run.has_chosen = True
        first = state if one else jax.tree.map(lambda leaf: leaf[0], state)
        if bool(first.warmup.settled):
            pilots = Run(run.args, run.kwargs, run.num_warmup)  # whose programs are done with
            attempt = attempt_of(kernel, first, run.args, run.kwargs, pilots.compiled)
            chains = 1 if one else state.i.shape[0]
            with within_memory():
                run.chosen = choice_for(
                    kernel, first.x, None, state.plan.profile, attempt, chains, growth_in(first)
                )
    if run.chosen is None:
        return state
    plan = dataclasses.replace(state.plan, options=run.chosen.options)
    return resized(state._replace(plan=plan), run.chosen.length)
