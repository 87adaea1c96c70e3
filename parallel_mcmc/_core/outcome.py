"""How many steps of a window are solved, by the last evaluation, and whether to go on."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.constants import FEW, LARGE_ROWS, TRUST_RADIUS
from parallel_mcmc._core.linear_maps import LinearMap
from parallel_mcmc._core.rows import (
    all_of,
    either,
    first_false,
    least_and_sums,
    most_of,
    window_of,
)
from parallel_mcmc._core.tolerance import most_noise, noise, rounding, spread
from parallel_mcmc._core.trembling import (
    Counted,
    Evidence,
    all_tremble,
    counted,
    in_units,
    watched,
)


class Limits(NamedTuple):
    """The limits of the iterations.

    Attributes:
        tol, max_iterations: see `parallel_mcmc.Solver`.
        scale: see `parallel_mcmc.solve`.
        most_ties: how many steps of a window may have accept decisions that rounding flips; 0 for
            a recursion that is not known to accept or reject.
        hands_over: whether to stop where few residuals are large, as another solver goes on.
    """

    tol: Float[Array, ""]
    max_iterations: Int[Array, ""]
    scale: Float[Array, " D"] | None
    most_ties: int
    hands_over: bool = False


class Block(NamedTuple):
    """Steps to iterate on until the first ``num_steps`` are solved.

    Attributes:
        x_start: the state before the first step.
        inputs: of all L steps.
        num_steps: how many of them have to be solved; the window may slide into the rest.
        window: steps iterated on at a time, L for a window that does not slide. On a mesh, L and
            the window are those of one device.
        extend_guess: whether steps that no window has reached start from the last state that a
            window has reached, and not from ``states``.
        num_before: the most iterations of any earlier block.
    """

    x_start: Float[Array, " D"]
    inputs: Any
    num_steps: Int[Array, ""]
    window: int
    extend_guess: bool
    num_before: Int[Array, ""]


class Progress(NamedTuple):
    """The state of the iterations on a block.

    Attributes:
        states: ``(L, D)``.
        frontier: leading steps that are committed; a sliding window begins here.
        f_values, A: the last evaluation, in the window. They are in the loop's carry also
            because the residual and the next iterate then see the same bits, while XLA
            may round two uses within one iteration differently.
        factor: how well the last prediction of each f_t held, ``(W,)``: see
            `correction.secant`.
        evidence: which steps tremble, up to the last iteration: see `trembling`.
        stood: iterations, or steps guessed, for which the chain stands still: see `moves`.
        rests: steps whose residual was not large in the evaluation before the last: see `moves`.
        replaced, limited: states that the last iteration replaced, and linear maps whose norm it
            limited, or corrections it penalised, ``(W,)``: counted with the next evaluation.
        num_iterations: evaluations so far; the looks, made side by side, count as one.
        num_in_turn: see `parallel_mcmc.SolveInfo`; set at the end.
        num_looks: iterations among them that were looks.
        num_resets: states replaced because they were not finite, or the chain stood still.
        num_limited: linear maps limited, or corrections penalised.
        near_since: see `Outcome`.
        num_held: iterations in which states were held: see `moves`.
        ask_from: iterations without those before the next check whether trembling states are
            accepted.
        stops, done, early: for the last evaluation: see `Outcome`.
    """

    states: Float[Array, "L D"]
    frontier: Int[Array, ""]
    f_values: Float[Array, "W D"]
    A: LinearMap
    factor: Float[Array, " W"]
    evidence: Evidence
    stood: Int[Array, ""]
    rests: Bool[Array, " W"]
    replaced: Bool[Array, " W"]
    limited: Bool[Array, " W"]
    num_iterations: Int[Array, ""]
    num_in_turn: Int[Array, ""]
    num_looks: Int[Array, ""]
    num_resets: Int[Array, ""]
    num_limited: Int[Array, ""]
    near_since: Int[Array, ""]
    num_held: Int[Array, ""]
    ask_from: Int[Array, ""]
    stops: Bool[Array, ""]
    done: Bool[Array, ""]
    early: Bool[Array, ""]

    @property
    def num_free(self) -> Int[Array, ""]:
        """Iterations in which all states could move: what is seen of their errors counts these."""
        return self.num_iterations - self.num_held

    @property
    def has_fallen(self) -> Bool[Array, ""]:
        """Whether states have fallen from noise to the last bit, or tremble.

        That takes half as many more iterations as it took half of the steps to come down to noise.
        """
        return (self.near_since > 0) & (2 * self.num_iterations >= 3 * self.near_since)


class Outcome(NamedTuple):
    """What the last evaluation shows about the window.

    Attributes:
        k: leading steps of the window that are solved.
        lead: leading steps that are solved or, by this evaluation, right up to noise.
        scale: the spread by which this evaluation is judged.
        num_inexact: steps that have to be solved and are not exact.
        num_replaced, num_limited: of `Progress.replaced` and `Progress.limited`.
        near_since: the iteration since which half of the steps are right up to noise; 0 before.
        early: whether the early stop that the user asked for is reached.
        done: whether there is nothing more to gain from iterating.
        asks: whether all inexact steps tremble and may be acceptable; `judgement` decides. Where
            another solver goes on, whether it should.
        stops: whether the iterations are done, or ask.
    """

    k: Int[Array, ""]
    lead: Int[Array, ""]
    scale: Float[Array, " D"]
    num_inexact: Int[Array, ""]
    num_replaced: Int[Array, ""]
    num_limited: Int[Array, ""]
    near_since: Int[Array, ""]
    early: Bool[Array, ""]
    done: Bool[Array, ""]
    asks: Bool[Array, ""]
    stops: Bool[Array, ""]


class Details(NamedTuple):
    """What else the next iteration needs, and only that one.

    Attributes:
        x, r: the states of the window, and their residuals, ``(W, D)``.
        agrees: which steps are exact, given the state before them.
        wanted: which steps have to be solved.
        large: whose residual is more than `TRUST_RADIUS`.
        complete: whether all steps of the block are right up to noise, and no early stop is asked
            for.
        size: of the residuals, in units of the noise.
        evidence: as in `Progress`, with this evaluation.
    """

    x: Float[Array, "W D"]
    r: Float[Array, "W D"]
    agrees: Bool[Array, " W"]
    wanted: Bool[Array, " W"]
    large: Bool[Array, " W"]
    complete: Bool[Array, ""]
    size: Float[Array, " W"]
    evidence: Evidence


def outcome(
    progress: Progress, block: Block, limits: Limits, offset: Any
) -> tuple[Outcome, Details]:
    """Compare the last evaluation with the states from which it was computed."""
    x = window_of(progress.states, offset, block.window)
    r = progress.f_values - x
    # The spread of f's values, because at first all states are x_0.
    scale = spread(progress.f_values) if limits.scale is None else limits.scale
    evaluated = progress.num_iterations > 0
    size = most_of(in_units(r, noise(x, scale)))
    agrees = (size == 0) & evaluated
    few = all_of(jnp.abs(r) <= noise(x, scale, FEW)) & (size > 0)
    most = most_noise(x.dtype, slides=block.window < len(progress.states))
    evidence = watched(progress.evidence, size, few, most, progress.has_fallen)
    evidence = either(evaluated, evidence, progress.evidence)
    length = across.whole(block.window)
    num_left = jnp.minimum(block.num_steps - offset, length)
    wanted = across.numbers(block.window) < num_left
    near = agrees | (evidence.trembled >= 0)
    large = ~all_of(jnp.abs(r) <= TRUST_RADIUS * scale)
    # An early stop needs all steps: poor iterates may widen the scale.
    enough = all_of(jnp.abs(r) <= limits.tol * scale + rounding(x))
    k, lead, all_enough, num_replaced, num_limited, *sums, num_large = least_and_sums(
        (first_false(agrees), first_false(near), enough | ~wanted),
        (
            progress.replaced,
            progress.limited,
            *counted(evidence, size, wanted),
            large & wanted,
        ),
    )
    counts = Counted(*sums)
    half_near = evaluated & (2 * counts.large <= num_left)
    since = jnp.where(progress.near_since > 0, progress.near_since, progress.num_iterations)
    early = evaluated & (limits.tol > 0) & (all_enough == 1)
    at_the_limit = progress.num_iterations >= limits.max_iterations
    may_ask = (progress.num_free >= progress.ask_from) | at_the_limit
    asks = may_ask & all_tremble(counts, num_left)
    if limits.hands_over:
        asks = evaluated & (num_large <= (num_left - 1) // LARGE_ROWS)
    k = jnp.where(early, jnp.maximum(k, num_left), k)
    # At a state known to be right, a value that is not finite is the recursion's own.
    at_frontier = across.row_of(progress.f_values, jnp.minimum(k, length - 1))
    done = (k >= num_left) | at_the_limit | ~all_of(jnp.isfinite(at_frontier))
    seen = Outcome(
        k=k,
        lead=lead,
        scale=scale,
        num_inexact=counts.inexact,
        num_replaced=num_replaced,
        num_limited=num_limited,
        near_since=jnp.where(half_near, since, 0),
        early=early,
        done=done,
        asks=asks,
        stops=done | asks,
    )
    complete = (lead >= num_left) & ~(limits.tol > 0)
    return seen, Details(x, r, agrees, wanted, large, complete, size, evidence)
