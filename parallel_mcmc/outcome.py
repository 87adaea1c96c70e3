"""How far an evaluation shows the steps of a window to be solved, and whether to go on."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.linear_maps import LinearMap
from parallel_mcmc.tolerance import noise, num_leading, rounding, spread
from parallel_mcmc.trembling import FEW, Evidence, in_units, may_stand, watched


class Limits(NamedTuple):
    """What bounds an iteration: see `parallel_mcmc.solve` for each."""

    tol: Float[Array, ""]
    max_iterations: Int[Array, ""]
    scale: Float[Array, " D"] | None


class Block(NamedTuple):
    """The steps that are iterated on until the first ``num_steps`` are solved.

    Attributes:
        x_start: the state before the first step.
        inputs: of all L steps.
        num_steps: how many of them have to be solved; the rest is what the window may slide into.
        window: steps iterated on at a time, L for a window that stays where it is.
        extend_guess: steps that no window has seen start from the last state that one
            has, not from what is in ``states``.
    """

    x_start: Float[Array, " D"]
    inputs: Any
    num_steps: Int[Array, ""]
    window: int
    extend_guess: bool


class Progress(NamedTuple):
    """Where the iterations on a block stand.

    Attributes:
        states: ``(L, D)``.
        frontier: leading steps that are committed; here the window begins, if it slides.
        f_values, A: the last evaluation, in the window. They go through the loop's
            carry for a second reason: the residual and the next iterate then see the same
            bits, while XLA may round two uses within one iteration differently.
        factor: how far the last prediction of each f_t was right, ``(W,)``: see
            `correction.secant`.
        evidence: of which steps tremble, up to the last iteration: see `trembling`.
        stood: iterations, or steps guessed, for which the chain stands still: see `frontier`.
        expected: leading steps that were right after the last iteration, with those it made.
        num_iterations: evaluations so far.
        num_resets: states replaced because they were not finite, or the chain stood still.
        num_limited: linear maps whose norm was limited, or corrections penalised.
        num_frontier_steps: steps made one by one where the frontier stalled: see `frontier`.
    """

    states: Float[Array, "L D"]
    frontier: Int[Array, ""]
    f_values: Float[Array, "W D"]
    A: LinearMap
    factor: Float[Array, " W"]
    evidence: Evidence
    stood: Int[Array, ""]
    expected: Int[Array, ""]
    num_iterations: Int[Array, ""]
    num_resets: Int[Array, ""]
    num_limited: Int[Array, ""]
    num_frontier_steps: Int[Array, ""]


class Outcome(NamedTuple):
    """How far the last evaluation shows the window to be solved.

    Attributes:
        k: leading steps of the window that are solved.
        lead: leading steps that are solved or, as far as this evaluation shows, right up to noise.
        within: which steps are solved, given the state before them, ``(W,)``.
        unit: the spread by which this evaluation is judged.
        num_trembling: steps that stand although they tremble.
        done: nothing more to gain from iterating.
    """

    k: Int[Array, ""]
    lead: Int[Array, ""]
    within: Bool[Array, " W"]
    unit: Float[Array, " D"]
    num_trembling: Int[Array, ""]
    done: Bool[Array, ""]


class Details(NamedTuple):
    """What the next iteration needs besides, and no other.

    Attributes:
        x, r: the states of the window, and their residuals, ``(W, D)``.
        near: which steps are solved or right up to noise, given the state before them.
        complete: whether all steps of the block are, and no early stop is asked for.
        evidence: as in `Progress`, with this evaluation.
    """

    x: Float[Array, "W D"]
    r: Float[Array, "W D"]
    near: Bool[Array, " W"]
    complete: Bool[Array, ""]
    evidence: Evidence


def outcome(
    progress: Progress, block: Block, limits: Limits, offset: Any
) -> tuple[Outcome, Details]:
    """Hold the last evaluation against the states that it was made at."""
    x = window_of(progress.states, offset, block.window)
    x_start = state_before(progress.states, block.x_start, jnp.asarray(offset))
    r = progress.f_values - x
    # Of the values, as at first all states are x_0.
    scale = spread(progress.f_values) if limits.scale is None else limits.scale
    evaluated = progress.num_iterations > 0
    agrees = jnp.all(r == 0, axis=-1) & evaluated
    of_noise = noise(x, scale)
    size = jnp.max(in_units(r, of_noise), axis=-1)
    few = jnp.all(jnp.abs(r) <= noise(x, scale, FEW), axis=-1) & (size > 0)
    evidence = watched(progress.evidence, size, few)
    evidence = jax.tree.map(
        lambda new, old: jnp.where(evaluated, new, old), evidence, progress.evidence
    )
    own = x - jnp.concatenate([x_start[None], x[:-1]])
    num_left = jnp.minimum(block.num_steps - offset, block.window)
    wanted = jnp.arange(block.window) < num_left
    stand, num_trembling = may_stand(evidence, size, wanted, x, r, own, of_noise)
    num_trembling = jnp.where(stand, num_trembling, 0)
    near = agrees | (evidence.num_looks >= 0)
    k, lead = num_leading(jnp.stack([agrees, near], axis=-1))
    # An early stop is one of all steps: poor iterates may widen the scale for a part of them.
    enough = jnp.abs(r) <= limits.tol * scale + rounding(x)
    early = evaluated & (limits.tol > 0) & jnp.all(enough | ~wanted[:, None])
    stand = stand | early
    k = jnp.where(stand, jnp.maximum(k, num_left), k)
    # At a state known to be right, a value that is not finite is the recursion's own.
    at_frontier = progress.f_values[jnp.minimum(k, block.window - 1)]
    done = (
        (k >= num_left)
        | (progress.num_iterations >= limits.max_iterations)
        | ~jnp.all(jnp.isfinite(at_frontier))
    )
    seen = Outcome(
        k=k,
        lead=jnp.maximum(k, lead),
        within=agrees | (wanted & stand),
        unit=scale,
        num_trembling=num_trembling,
        done=done,
    )
    complete = (lead >= num_left) & ~(limits.tol > 0)
    return seen, Details(x, r, near, complete, evidence)


def window_of(states: Float[Array, "L D"], offset: Any, window: int) -> Float[Array, "W D"]:
    """The states that are iterated on: all of them where the window does not slide."""
    if window == len(states):
        return states
    return jax.lax.dynamic_slice_in_dim(states, offset, window)


def state_before(states: Float[Array, "L D"], x_start: Float[Array, " D"], t: Any) -> Any:
    return jnp.where(t == 0, x_start, states[jnp.maximum(t - 1, 0)])
