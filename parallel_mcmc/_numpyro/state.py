"""The state of a chain, and what it is made of.

`ParallelState` has all fields of NumPyro's `HMCState`, and more: how the draws were found, and a
buffer of those that were found together, to be handed out one by one.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from parallel_mcmc._core.auto import Choice
from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._core.profiles import Profile
from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._core.solver import Solver


class Draws(NamedTuple):
    """A draw, or with a leading axis of time those of a window.

    Attributes:
        x: the least Markov state, a vector in the coordinates in which the chain is solved.
        z: unconstrained values by site.

    The others are fields of `ParallelState`.
    """

    x: Float[Array, " D"]
    z: Any
    z_grad: Any
    potential_energy: Float[Array, ""]
    energy: Float[Array, ""]
    trajectory_length: Float[Array, ""] | None
    num_steps: Int[Array, ""]
    accept_prob: Float[Array, ""]
    diverging: Bool[Array, ""]


class Buffer(NamedTuple):
    """Draws to hand out, how many have been, and the key and the data that they were drawn with."""

    draws: Draws
    used: Int[Array, ""]
    rng_key: Any
    data: UInt32[Array, ""]


class Options(NamedTuple):
    """How to solve: as in `parallel_mcmc.solve`, with a solver that has been chosen."""

    solver: Solver
    window: int | None


class Chosen(NamedTuple):
    """The solver of a chain, and the length of its buffer."""

    choice: Choice
    length: int

    @property
    def options(self) -> Options:
        return Options(self.choice.solver, self.choice.window)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Plan:
    """What a chain was begun with, part of the state's structure rather than of its values.

    NumPyro's kernels keep it in themselves, where the next `MCMC` with the same kernel changes it.

    Attributes:
        num_warmup: steps of the warm-up.
        profile: of a step, where a solver has to be chosen.
        options: what the first chain has chosen; None if it could not. The reason in words is left
            out: it differs from key to key, and the program does not.
    """

    num_warmup: int
    profile: Profile
    options: Options | None = None


class ParallelState(NamedTuple):
    """The state of a chain, with all fields of NumPyro's `HMCState`, and more.

    Attributes:
        i: steps taken, warm-up included.
        z: unconstrained values of the latent sites.
        z_grad: the gradient of the potential energy at ``z``; None for kernels that need none.
        potential_energy: minus the log density at ``z``.
        energy: the potential energy plus the kinetic energy, if the kernel has one.
        trajectory_length: of the last trajectory, as it was made; None for kernels without one, and
            for BlackJAX's.
        num_steps: leapfrog steps of the last trajectory; 1 for kernels without one.
        accept_prob: of the last proposal.
        mean_accept_prob: since the beginning of the warm-up, then since its end.
        diverging: whether the last trajectory diverged.
        adapt_state: step size and metric, NumPyro's ``HMCAdaptState``; None without adaptation.
        rng_key: of the chain; the noise of step i comes from ``fold_in(rng_key, i)``.
        solve: `SolveInfo` of the window that the draw is from.
        predictability: `Predictability` of that window, None if it was not asked for.
        warmup: how helpers have warmed the chain up, and what a warm-up step by step has cost.
        x: ``z`` in the coordinates in which the chain is solved, and what else a chain carries.
        buffer: the draws of the present window.
        plan: see `Plan`.
        r: None, as in NumPyro's: a momentum is drawn anew at each step.
    """

    i: Int[Array, ""]
    z: Any
    z_grad: Any
    potential_energy: Float[Array, ""]
    energy: Float[Array, ""]
    trajectory_length: Float[Array, ""] | None
    num_steps: Int[Array, ""]
    accept_prob: Float[Array, ""]
    mean_accept_prob: Float[Array, ""]
    diverging: Bool[Array, ""]
    adapt_state: Any
    rng_key: Any
    solve: SolveInfo
    predictability: Predictability | None
    warmup: Any
    x: Float[Array, " D"]
    buffer: Any
    plan: Plan
    r: None = None


def advanced(state: ParallelState, draw: Draws) -> ParallelState:
    """One step on: the draw, and the counts and means that go with it."""
    begin = jnp.where(state.i < state.plan.num_warmup, 0, state.plan.num_warmup)
    n = (state.i + 1 - begin).astype(draw.accept_prob.dtype)
    mean = state.mean_accept_prob + (draw.accept_prob - state.mean_accept_prob) / n
    return state._replace(i=state.i + 1, mean_accept_prob=mean, **draw._asdict())
