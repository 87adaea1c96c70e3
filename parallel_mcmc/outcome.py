"""How far an evaluation shows the steps of a window to be solved, and whether to go on."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc.linear_maps import LinearMap
from parallel_mcmc.tolerance import (
    Region,
    noise,
    num_leading,
    region,
    rounding,
    scaled,
    trusted_spread,
)
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
        scale: spread per coordinate of states known to be right, ``(D,)``.
        worst: largest residual beyond rounding among the steps committed, ``(D,)``.
        num_iterations: evaluations so far.
        num_resets: states replaced because they were not finite, or the chain stood still.
        num_limited: linear maps whose norm was limited, or corrections penalised.
        num_frontier_steps: steps made one by one where the frontier stalled: see `frontier`.
        num_made: those of the last iteration.
        num_standing: leading steps of the window that are solved and stay as they are.
        num_trembling: steps committed that tremble.
        evidence: of which steps tremble, up to the last iteration: see `trembling`.
    """

    states: Float[Array, "L D"]
    frontier: Int[Array, ""]
    f_values: Float[Array, "W D"]
    A: LinearMap
    factor: Float[Array, " W"]
    scale: Float[Array, " D"]
    worst: Float[Array, " D"]
    num_iterations: Int[Array, ""]
    num_resets: Int[Array, ""]
    num_limited: Int[Array, ""]
    num_frontier_steps: Int[Array, ""]
    num_made: Int[Array, ""]
    num_standing: Int[Array, ""]
    num_trembling: Int[Array, ""]
    evidence: Evidence


class Outcome(NamedTuple):
    """How far the last evaluation shows the window to be solved.

    Attributes:
        k: leading steps of the window that are solved.
        within: which steps are solved, given the state before them, ``(W, )``.
        lead: leading steps that are solved or, as far as this evaluation shows, right up to noise.
        near: which steps are so, given the state before them, ``(W, )``.
        complete: whether all steps of the block in the window are, and no early stop is asked for.
        evidence: as in `Progress`, with this evaluation.
        r: the residual, ``(W, D)``.
        residual: its largest value among the steps of the block, in units of the scale.
        worst: its largest value per coordinate among the first k steps.
        scale: as in `Progress`.
        unit: the spread by which this evaluation is judged: the scale, or where the states
            are now less wide than that, theirs.
        x, f: where the states and the values of f are.
        done: nothing more to gain from iterating.
    """

    k: Int[Array, ""]
    within: Bool[Array, " W"]
    lead: Int[Array, ""]
    near: Bool[Array, " W"]
    complete: Bool[Array, ""]
    evidence: Evidence
    r: Float[Array, "W D"]
    residual: Float[Array, ""]
    worst: Float[Array, " D"]
    scale: Float[Array, " D"]
    unit: Float[Array, " D"]
    x: Region
    f: Region
    done: Bool[Array, ""]


def outcome(progress: Progress, block: Block, limits: Limits, offset: Any) -> Outcome:
    """Hold the last evaluation against the states that it was made at."""
    x = jax.lax.dynamic_slice_in_dim(progress.states, offset, block.window)
    x_start = state_before(progress.states, block.x_start, jnp.asarray(offset))
    r = progress.f_values - x
    of_x, of_f = region(x), region(progress.f_values)
    if limits.scale is None:
        known = trusted_spread(x, progress.f_values, x_start, progress.scale, of_f.spread)
        scale = jnp.minimum(known, of_x.spread)
    else:
        known = scale = limits.scale
    evaluated = progress.num_iterations > 0
    row = jnp.arange(block.window)[:, None]
    standing = row[:, 0] < progress.num_standing
    asked = jnp.where(limits.tol > 0, limits.tol * scale + rounding(x), 0)
    agrees = standing | (jnp.all(jnp.abs(r) <= asked, axis=-1) & evaluated)
    of_noise = noise(x, scale)
    size = jnp.max(in_units(r, of_noise), axis=-1)
    few = jnp.all(jnp.abs(r) <= noise(x, scale, FEW), axis=-1) & (size > 0)
    seen = watched(progress.evidence, size, few)
    evidence = jax.tree.map(functools.partial(jnp.where, evaluated), seen, progress.evidence)
    own = x - jnp.concatenate([x_start[None], x[:-1]])
    wanted = row[:, 0] < block.num_steps - offset
    unsolved = wanted & (row[:, 0] >= num_leading(agrees))
    stand = may_stand(evidence, size, unsolved, x, r, own, of_noise)
    within = agrees | (wanted & stand)
    near = within | (evidence.num_looks >= 0)
    k = num_leading(within)
    # At a state known to be right, a value that is not finite is the recursion's own.
    at_frontier = progress.f_values[jnp.minimum(k, block.window - 1)]
    return Outcome(
        k=k,
        within=within,
        lead=num_leading(near),
        near=near,
        complete=jnp.all(near | ~wanted) & ~(limits.tol > 0),
        evidence=evidence,
        r=r,
        residual=jnp.max(jnp.where(row < block.num_steps - offset, scaled(r, scale), 0)),
        worst=jnp.max(jnp.where(row < k, jnp.maximum(jnp.abs(r) - rounding(x), 0), 0), axis=0),
        scale=jnp.where(evaluated, known, progress.scale),
        unit=scale,
        x=of_x,
        f=of_f,
        done=(
            (offset + k >= block.num_steps)
            | (progress.num_iterations >= limits.max_iterations)
            | ~jnp.all(jnp.isfinite(at_frontier))
        ),
    )


def state_before(states: Float[Array, "L D"], x_start: Float[Array, " D"], t: Any) -> Any:
    return jnp.where(t == 0, x_start, states[jnp.maximum(t - 1, 0)])
