"""A window of draws, solved at once and handed out one by one.

NumPyro's `MCMC` asks a kernel for one draw at a time. The state keeps a buffer of the draws of one
window; when it is used up, or was drawn with another key than the state now has or for other
arguments of the model, the next window is solved. The noise of step i comes from
``fold_in(rng_key, i)``: so the draws depend neither on the length of the window nor on whether
there is one, and a chain continued from its last state is the chain run in one go.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from parallel_mcmc._core.auto import Choice
from parallel_mcmc._core.diagnostics import Predictability, assess
from parallel_mcmc._core.linearize import Ability
from parallel_mcmc._core.report import ConvergenceWarning, SolveInfo, Status, describe_failure
from parallel_mcmc._core.solvers import Solver
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._mcmc.trace import WITHOUT_PRIOR
from parallel_mcmc._mcmc.transition import Transition, recursion, run_parallel


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
        able: what JAX can make of a step, where a solver has to be chosen.
        options: that a pilot has chosen; None where there was none. Without its words, which are
            others for each key, as the program is not.
    """

    num_warmup: int
    able: Ability
    options: Options | None = None


class ParallelState(NamedTuple):
    """The state of a chain, with all fields of NumPyro's `HMCState`, and more.

    Attributes:
        i: steps taken, warm-up included.
        z: unconstrained values of the latent sites.
        z_grad: the gradient of the potential energy at ``z``; None of kernels that need none.
        potential_energy: minus the log density at ``z``.
        energy: the potential energy plus the kinetic energy, if the kernel has one.
        trajectory_length: of the last trajectory, as long as it was made; None of kernels without,
            and of BlackJAX's.
        num_steps: leapfrog steps of the last trajectory; 1 of kernels without.
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


class Chain(NamedTuple):
    """A kernel with its present settings.

    Attributes:
        transition: the kernel, on positions of its own.
        position: unconstrained values -> position.
        z: position -> unconstrained values.
        potential_fn: of unconstrained values, for kernels that do not keep a log density.
        draw_input: ``(rng_key, state) -> inputs`` of one step.
    """

    transition: Transition
    position: Callable[[Any], Any]
    z: Callable[[Any], Any]
    potential_fn: Callable[[Any], Float[Array, ""]]
    draw_input: Callable[[Any, Any], Any]


def draw_one(transition: Transition) -> Callable[[Any, Any], Any]:
    """The inputs of one step from a key of its own."""

    def draw_input(rng_key, state):
        return jax.tree.map(lambda leaf: leaf[0], transition.draw_inputs(rng_key, 1, state))

    return draw_input


def draws_of(chain: Chain, with_gradient: bool = True) -> Callable[[Any, Any], Draws]:
    """``(state, info)`` of a kernel's step -> `Draws`; neutral values for what a kernel lacks."""

    def keep(state, info):
        x, z = chain.transition.ravel(state), chain.z(state.position)
        known = keeps(state, "logdensity")
        potential_energy = -state.logdensity if known else chain.potential_fn(z)
        num_steps = getattr(info, "num_integration_steps", None)
        length = None
        if num_steps is not None and hasattr(info, "step_size"):
            length = jnp.asarray(num_steps * info.step_size, x.dtype)
        return Draws(
            x=x,
            z=z,
            z_grad=gradient_of(chain, state) if with_gradient else None,
            potential_energy=jnp.asarray(potential_energy, x.dtype),
            energy=jnp.asarray(getattr(info, "energy", potential_energy), x.dtype),
            trajectory_length=length,
            num_steps=jnp.asarray(1 if num_steps is None else num_steps, int),
            accept_prob=jnp.asarray(getattr(info, "acceptance_rate", 1.0), x.dtype),
            diverging=jnp.asarray(getattr(info, "is_divergent", False), bool),
        )

    return keep


def keeps(state: Any, name: str) -> bool:
    """Whether a kernel's state has this of the whole log density."""
    return hasattr(state, name) and type(state).__name__ not in WITHOUT_PRIOR


def gradient_of(chain: Chain, state: Any) -> Any:
    """Of the potential energy by the unconstrained values, from that which a kernel keeps."""
    if not keeps(state, "logdensity_grad"):
        return None
    z = chain.z(state.position)
    # Kernels of this package keep it by the vector that they are solved for, BlackJAX's by the
    # position; the way there is linear.
    by_z = jax.vjp(chain.position, z)[1](state.logdensity_grad)[0]
    return jax.tree.map(lambda leaf, like: -jnp.asarray(leaf, like.dtype), by_z, z)


def start_of(chain: Chain, z: Any, rng_key: Any) -> Any:
    """Unconstrained values as the vector that a chain is solved for; under `jit` no density."""
    return chain.transition.ravel(chain.transition.init(chain.position(z), rng_key))


def first_step(chain: Chain, z: Any, rng_key: Any, i: Any) -> tuple[Any, Any]:
    """The state after step i, from ``z``, and its draw."""
    key = jax.random.fold_in(rng_key, i)
    state = chain.transition.init(chain.position(z), key)
    state, info = chain.transition.step(state, chain.draw_input(key, state))
    return state, draws_of(chain)(state, info)


def solve_steps(
    chain: Chain,
    x: Float[Array, " D"],
    rng_key: Any,
    begin: Int[Array, ""],
    num_steps: int,
    options: Options,
    diagnose: bool,
    tell: Callable | None = None,
    with_gradients: bool = True,
) -> tuple[Draws, SolveInfo, Predictability | None]:
    """The draws of ``num_steps`` steps from ``x``, all at once, and how they were found.

    Without gradients ``z_grad`` has one row, of the last draw: they are as large as the draws.
    """
    state = chain.transition.unravel(x)

    def inputs_of(i):
        return chain.draw_input(jax.random.fold_in(rng_key, i), state)

    inputs = jax.vmap(inputs_of)(begin + jnp.arange(num_steps, dtype=begin.dtype))
    last, draws, info = run_parallel(
        chain.transition,
        state,
        inputs,
        solver=options.solver,
        window=options.window,
        transform=draws_of(chain, with_gradients),
        tell=tell,
    )
    if not with_gradients:
        only = jax.tree.map(lambda leaf: leaf[None], gradient_of(chain, last))
        draws = draws._replace(z_grad=only)
    if not diagnose:
        return draws, info, None
    tol = aimed_at(options.solver.tol, x.dtype)
    return draws, info, assess(recursion(chain.transition), x, inputs, draws.x, tol)


def warn_once(warned: set[bytes], rng_key: Any, info: SolveInfo) -> None:
    """Of a window that did not converge, from inside `jit`; of a chain, known by its key, once."""

    def warn(key_data, info):
        message, chain = describe_failure(info), np.asarray(key_data).tobytes()
        if message and chain not in warned:
            warned.add(chain)
            warnings.warn(message, ConvergenceWarning, stacklevel=2)

    def call(_):
        jax.debug.callback(warn, jax.random.key_data(rng_key), info)
        return jnp.zeros((), bool)

    # A loop of no turn where all is well: a call back to Python costs as much as many draws.
    jax.lax.while_loop(lambda failed: failed, call, info.status != Status.CONVERGED)


def is_stale(state: ParallelState, data: UInt32[Array, ""]) -> Bool[Array, ""]:
    """Nothing is left, or the chain goes on with another key or for other data.

    `MCMC.run` after a warm-up gives a state another key; the fingerprint of the model's
    arguments, ``data``, is that of the call.
    """
    buffer = state.buffer
    key, expected = jax.random.key_data(state.rng_key), jax.random.key_data(buffer.rng_key)
    used_up = buffer.used >= length_of(buffer)
    return used_up | jnp.any(key != expected) | (data != buffer.data)


def refilled(
    state: ParallelState, draws: Draws, info: SolveInfo, data: UInt32[Array, ""]
) -> ParallelState:
    buffer = Buffer(draws, jnp.zeros_like(state.buffer.used), state.rng_key, data)
    return state._replace(buffer=buffer, solve=info)


def emptied(state: ParallelState) -> ParallelState:
    """With nothing to hand out, so that the next draw solves a window."""
    used = jnp.full_like(state.buffer.used, length_of(state.buffer))
    return state._replace(buffer=state.buffer._replace(used=used))


def popped(state: ParallelState) -> ParallelState:
    """With the next draw of the buffer."""
    index = state.buffer.used
    draw = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), state.buffer.draws
    )
    state = advanced(state, draw)
    return state._replace(buffer=state.buffer._replace(used=index + 1))


def advanced(state: ParallelState, draw: Draws) -> ParallelState:
    """One step on: the draw, and the counts and means that go with it."""
    begin = jnp.where(state.i < state.plan.num_warmup, 0, state.plan.num_warmup)
    n = (state.i + 1 - begin).astype(draw.accept_prob.dtype)
    mean = state.mean_accept_prob + (draw.accept_prob - state.mean_accept_prob) / n
    return state._replace(i=state.i + 1, mean_accept_prob=mean, **draw._asdict())


def length_of(buffer: Buffer) -> int:
    return buffer.draws.x.shape[-2]
