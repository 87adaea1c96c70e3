"""Solve the whole chain in windows: iterate on each block, finish it where needed, judge it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.checks import check_dtype, num_steps_of
from parallel_mcmc._core.constants import PROPORTION
from parallel_mcmc._core.iteration import iterate
from parallel_mcmc._core.keys import check_keys
from parallel_mcmc._core.outcome import Block, Limits
from parallel_mcmc._core.report import SolveInfo, Status
from parallel_mcmc._core.rows import every, finite_rows, first_of, num_leading, window_of
from parallel_mcmc._core.solver import MOST_ITERATIONS, Solver
from parallel_mcmc._core.stepwise import finish, scan_steps
from parallel_mcmc._core.tolerance import aimed_at, rounding, scaled, spread


class Summary(NamedTuple):
    """The result of the iterations on one block; other fields are those of `outcome.Progress`.

    Attributes:
        num_steps: how many steps were then run one by one.
        residual: the largest in the last evaluation, per coordinate.
        worst: the same, less rounding, over accepted steps; committed steps are exact.
        scale: the spread by which the block was judged.
    """

    frontier: Int[Array, ""]
    num_steps: Int[Array, ""]
    residual: Float[Array, " D"]
    worst: Float[Array, " D"]
    scale: Float[Array, " D"]
    num_iterations: Int[Array, ""]
    num_in_turn: Int[Array, ""]
    num_resets: Int[Array, ""]
    num_limited: Int[Array, ""]
    num_trembling: Int[Array, ""]
    num_ties: Int[Array, ""]


def solve_vectors(
    f: Recursion,
    x0: Float[Array, " D"],
    inputs: Any,
    solver: Solver,
    window: int,
    rng_key: Any,
    scale: Float[Array, " D"] | None = None,
    guess: Float[Array, "T D"] | None = None,
    most_ties: int = 0,
    tell: Callable | None = None,
    finishes: bool = True,
) -> tuple[Float[Array, "T D"], SolveInfo]:
    """`solve` for states that are vectors.

    ``most_ties`` as in `Limits`; ``tell`` is called with the number of steps solved so far. If it
    ``finishes``, steps that are not solved are run one by one; a pilot leaves them as they are.
    Where time lies over several devices, T and ``window`` are the rows of one of them.
    """
    check_dtype(x0.dtype)
    f = across.alone(f)
    limits = Limits(
        tol=jnp.asarray(solver.tol or 0, x0.dtype),
        max_iterations=jnp.asarray(solver.max_iterations or MOST_ITERATIONS, jnp.int32),
        scale=scale,
        most_ties=most_ties,
    )
    # Reduced-precision products (TF32) change accept decisions.
    with jax.default_matmul_precision("highest"):
        if solver.linearize is None:
            trajectory = all_steps(f, x0, inputs)
            return trajectory, run_info(finite_rows(trajectory), x0.dtype)
        check_keys(f, x0, jax.eval_shape(first_of, inputs))
        return run_windows(f, x0, inputs, solver, window, limits, guess, rng_key, tell, finishes)


def run_info(finite: Bool[Array, " T"], dtype: Any) -> SolveInfo:
    """The report on T steps that were run one by one on request."""
    zero = jnp.zeros((), jnp.int32)
    return SolveInfo(
        status=jnp.where(every(finite), Status.CONVERGED, Status.NON_FINITE).astype(jnp.int32),
        num_iterations=zero,
        num_in_turn=zero,
        residual=jnp.zeros((), dtype),
        frontier=jnp.where(every(finite), zero, num_leading(finite)),
        num_sequential_steps=zero + across.whole(finite.size),
        num_resets=zero,
        num_limited=zero,
        num_ties=zero,
        num_trembling=zero,
    )


def run_windows(f, x0, inputs, solver, W, limits, guess, rng_key, tell, finishes):
    """Blocks of W steps, one after the other; each is iterated on until it is done.

    A window begins within its block and may reach into the next one, and its states
    there are the first guess for that block. So the iterations carry two blocks, not
    the trajectory, which `vmap` would copy in each iteration.
    """
    T, D = num_steps_of(inputs), x0.size
    num_blocks = -(-T // W)
    length = W if num_blocks == 1 else 2 * W
    zero = jnp.zeros((), jnp.int32)
    num_replaced = zero
    extend_guess = guess is None
    if guess is None:
        guess = jnp.broadcast_to(x0, (T, D))
    else:
        finite = finite_rows(guess)
        num_replaced = across.total(jnp.sum(~finite, dtype=jnp.int32))
        guess = jnp.where(finite[:, None], guess, x0)

    def upcoming(tree, begin, length):
        # Beyond the end, the steps in reverse: like a chain that goes on, with the same spread.
        index = jnp.abs(T - 1 - jnp.abs(T - 1 - begin - jnp.arange(length)))
        return jax.tree.map(lambda leaf: leaf[index], tree)

    def run_block(carry, begin):
        states, frontier, x_start, stood, num_before = carry
        u = inputs if num_blocks == 1 else upcoming(inputs, begin, length)
        n = jnp.minimum(across.whole(W), across.whole(T) - begin)
        # A window may reach beyond the end.
        told = None if tell is None else lambda k: tell(jnp.minimum(begin + k, across.whole(T)))
        block = Block(x_start, u, n, W, extend_guess, num_before)
        done, outcome = iterate(f, solver, block, states, frontier, stood, limits, rng_key, told)
        offset = done.frontier if length > W else zero
        solved = offset + outcome.k
        x = window_of(done.states, offset, W)
        off = jnp.abs(done.f_values - x)
        off = jnp.where((across.numbers(W) < n - offset)[:, None], off, 0)
        beyond = jnp.where(outcome.within[:, None], off - rounding(x), 0)
        # Steps after the frontier may also agree with f at the state before them: they are kept
        # unless that state moves.
        agrees = jnp.arange(length) < offset
        agrees = jax.lax.dynamic_update_slice_in_dim(agrees, outcome.within, offset, 0)
        wanted = ~agrees & (across.numbers(length) < n)
        nothing = jnp.zeros_like(x0)
        states, num_steps = done.states, jnp.sum(wanted, dtype=jnp.int32)
        if finishes:
            states, num_steps = finish(f, states, x_start, u, wanted, nothing, n)
        summary = Summary(
            frontier=jnp.minimum(solved, n),
            num_steps=num_steps,
            residual=across.most(jnp.max(off, axis=0)),
            worst=across.most(jnp.max(beyond, axis=0)),
            scale=outcome.scale,
            num_iterations=done.num_iterations,
            num_in_turn=done.num_in_turn,
            num_resets=done.num_resets,
            num_limited=done.num_limited,
            num_trembling=outcome.num_trembling,
            num_ties=outcome.num_ties,
        )
        if num_blocks > 1:
            ahead = jnp.broadcast_to(states[-1], (W, D))
            if not extend_guess:
                ahead = upcoming(guess, begin + 2 * W, W)
            frontier = jnp.maximum(solved - W, 0)
            states_ahead = jnp.concatenate([states[W:], ahead])
            most = jnp.maximum(num_before, done.num_iterations)
            carry = states_ahead, frontier, states[W - 1], done.stood, most
        return carry, (states[:W], summary)

    states = guess if num_blocks == 1 else upcoming(guess, 0, length)
    carry = states, zero, x0, zero, zero
    if num_blocks == 1:
        _, (trajectory, blocks) = run_block(carry, zero)
        blocks = jax.tree.map(lambda leaf: leaf[None], blocks)
    else:

        def next_block(carry, begin):
            trajectory, carry = carry
            carry, (states, summary) = run_block(carry, begin)
            return (write_block(trajectory, states, begin), carry), summary

        (trajectory, _), blocks = jax.lax.scan(
            next_block, (jnp.zeros_like(guess), carry), W * jnp.arange(num_blocks, dtype=jnp.int32)
        )
    trajectory, info = conclude(f, x0, inputs, trajectory, blocks, W, limits)
    return trajectory, info._replace(num_resets=info.num_resets + num_replaced)


def all_steps(f, x0, inputs):
    """`scan_steps`, also where time lies over several devices: they take turns."""
    if across.devices() is None:
        return scan_steps(f, x0, inputs)
    states = jnp.zeros((num_steps_of(inputs), x0.size), x0.dtype)
    nothing = jnp.zeros_like(x0)
    return finish(f, states, x0, inputs, jnp.ones(len(states), bool), nothing)[0]


def write_block(trajectory, states, begin):
    """Write a block into the trajectory, except beyond the end: no array exceeds the chain."""
    T, W = trajectory.shape[0], states.shape[0]
    place = jnp.minimum(begin, T - W)
    there = jax.lax.dynamic_slice_in_dim(trajectory, place, W)
    before = jnp.arange(W)[:, None] < begin - place
    states = jnp.where(before, there, jnp.roll(states, begin - place, axis=0))
    return jax.lax.dynamic_update_slice_in_dim(trajectory, states, place, 0)


def conclude(f, x0, inputs, trajectory, blocks, W, limits):
    """Compare the residuals of all windows with the scale of the whole trajectory.

    A window judges by its own spread. At stationarity this is within twice the spread of
    the chain. While a chain comes in from a distant start it may not be. The steps of such a
    window are run again, as far as that moves the chain.
    """
    T = across.whole(trajectory.shape[0])
    begin = W * jnp.arange(blocks.frontier.size, dtype=jnp.int32)
    frontier = blocks.frontier
    if limits.scale is not None:
        scale = limits.scale
    else:
        scale = blocks.scale[0] if begin.size == 1 else spread(trajectory)
    residual = jnp.max(scaled(blocks.residual, scale))
    missing = blocks.num_steps
    num_sequential_steps = jnp.sum(missing)
    if begin.size > 1:
        tol = jnp.maximum(limits.tol, aimed_at(None, x0.dtype))
        poor = (blocks.scale > 2 * scale) & (blocks.worst > tol * scale)
        poor = jnp.any(poor | (blocks.worst > 2 * PROPORTION * tol * scale), axis=-1)
        poor = poor | jnp.roll(poor, 1).at[0].set(False)  # its window slid into the next block
        trajectory, num_steps = finish(
            f, trajectory, x0, inputs, jnp.repeat(poor, W)[:T], limits.tol * scale
        )
        frontier = jnp.where(poor, 0, frontier)
        missing = jnp.where(poor, 1, missing)
        num_sequential_steps += num_steps
        blocks = blocks._replace(num_ties=jnp.where(poor, 0, blocks.num_ties))

    gap = jnp.argmax(missing > 0)
    solved = num_sequential_steps == 0
    finite = finite_rows(trajectory)
    status = jnp.where(solved, Status.CONVERGED, Status.FINISHED_SEQUENTIALLY)
    frontier = jnp.where(solved, T, begin[gap] + frontier[gap])
    return trajectory, SolveInfo(
        status=jnp.where(every(finite), status, Status.NON_FINITE).astype(jnp.int32),
        num_iterations=jnp.sum(blocks.num_iterations, dtype=jnp.int32),
        num_in_turn=jnp.sum(blocks.num_in_turn, dtype=jnp.int32),
        residual=residual,
        frontier=jnp.where(every(finite), frontier, num_leading(finite)).astype(jnp.int32),
        num_sequential_steps=num_sequential_steps.astype(jnp.int32),
        num_resets=jnp.sum(blocks.num_resets, dtype=jnp.int32),
        num_limited=jnp.sum(blocks.num_limited, dtype=jnp.int32),
        num_ties=jnp.sum(blocks.num_ties, dtype=jnp.int32),
        num_trembling=jnp.sum(blocks.num_trembling, dtype=jnp.int32),
    )
