"""Any BlackJAX kernel, evaluated in parallel over the length of the chain.

`run_inference_algorithm` replaces `blackjax.util.run_inference_algorithm` and returns the
same. It splits keys as BlackJAX does, so that both give the same draws.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from parallel_mcmc._blackjax.transition import transition_of
from parallel_mcmc._core.auto import Auto, any_traced, choose
from parallel_mcmc._core.checks import check_window
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.report import SolveInfo, check_on_failure, report
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.progress import advance, iterated, showing
from parallel_mcmc._mcmc.runs import keep_all, run_parallel
from parallel_mcmc._mcmc.transition import attempt_once, keys_of_steps, profile_of


class BlockInfo(NamedTuple):
    """The info of one step of `parallelize`: states and infos of its block, and the report."""

    states: Any
    infos: Any
    solve: SolveInfo


def run_inference_algorithm(
    rng_key: Any,
    inference_algorithm: Any,
    num_steps: int,
    initial_state: Any = None,
    initial_position: Any = None,
    transform: Callable = keep_all,
    *,
    solver: Solver | Auto | None = None,
    window: int | None = None,
    fields: tuple[str, ...] | None = None,
    on_failure: str = "finish",
    progress_bar: bool = False,
) -> tuple[Any, Any]:
    """`blackjax.util.run_inference_algorithm`, solved in parallel over the chain.

    It has the same arguments, draws and return value, so only the function name changes.

    Args:
        rng_key: typed or raw.
        inference_algorithm: a BlackJAX `SamplingAlgorithm`.
        num_steps: length of the chain.
        initial_state: state to start from; give either this or ``initial_position``.
        initial_position: position to start from; a key is then split off, as in BlackJAX.
        transform: what to keep of ``(state, info)`` of each step.
        solver, window, on_failure: as in `parallel_mcmc.solve`.
        fields: as in `from_blackjax`.
        progress_bar: show the steps solved so far. `blackjax.progress_bar` cannot: it counts the
            steps of a `jax.lax.scan`, and a solve is not a scan over steps.

    Returns:
        ``(final_state, history)``. A solve that is finished step by step warns.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> algorithm = blackjax.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.2, jnp.ones(2), 8)
    >>> final_state, (states, infos) = pm.run_inference_algorithm(
    ...     jax.random.key(0), algorithm, 500, initial_position=jnp.zeros(2)
    ... )
    >>> states.position.shape
    (500, 2)
    """
    check_on_failure(on_failure)
    if (initial_state is None) == (initial_position is None):
        raise ValueError("Give either `initial_state` or `initial_position`.")
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    if initial_state is None:
        rng_key, init_key = jax.random.split(rng_key)
        with jax.default_matmul_precision("highest"):  # as in the solve
            initial_state = jax.jit(inference_algorithm.init)(initial_position, init_key)
    if not hasattr(initial_state, "position"):
        raise TypeError(
            f"The state of the algorithm, a {type(initial_state).__name__}, has no `position`; "
            "only Markov chains with one can be solved in parallel."
        )
    transition = transition_of(inference_algorithm, initial_state.position, fields)

    def attempt(solver, num_steps):
        return attempt_once(transition, solver, num_steps, rng_key, initial_state)

    x = jax.eval_shape(transition.ravel, initial_state)
    traced = any_traced((rng_key, initial_state))
    choice = choose(
        solver,
        window,
        num_steps,
        x,
        None if traced else attempt,
        profile=lambda: profile_of(transition, initial_state),
    )
    with showing(num_steps, progress_bar and not traced) as bar:
        final_state, history, info = _run(
            transition, choice.solver, choice.window, num_steps, transform, bar > 0, rng_key,
            initial_state, bar,
        )  # fmt: skip
    report(info, on_failure, (final_state, history))
    return final_state, history


@compiled(num_static=6)
def _run(transition, solver, window, num_steps, transform, shows_progress, rng_key, state, bar=0):
    inputs = transition.draw_inputs(keys_of_steps(rng_key, num_steps), state)
    moved = advance if solver.linearize is None else iterated
    tell = functools.partial(jax.debug.callback, moved, bar, 0) if shows_progress else None
    return run_parallel(
        transition, state, inputs, solver=solver, window=window, transform=transform, tell=tell
    )


def parallelize(
    algorithm: Any,
    num_steps: int,
    *,
    solver: Solver | Auto | None = None,
    window: int | None = None,
    fields: tuple[str, ...] | None = None,
) -> Any:
    """A BlackJAX `SamplingAlgorithm` whose step is a block of ``num_steps`` steps of another.

    BlackJAX's own loops can run it: ``step(rng_key, state)`` splits its key into
    ``num_steps`` keys and returns the last state of the block and a `BlockInfo`. There
    `blackjax.progress_bar` counts blocks.

    Args:
        algorithm: a BlackJAX `SamplingAlgorithm`.
        num_steps: steps in a block.
        solver, window: as in `parallel_mcmc.solve`.
        fields: as in `from_blackjax`.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> block = pm.parallelize(blackjax.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3), 100)
    >>> state, info = jax.jit(block.step)(jax.random.key(0), block.init(jnp.zeros(2)))
    >>> info.states.position.shape, int(info.solve.status)
    ((100, 2), 0)
    """
    from blackjax.base import SamplingAlgorithm

    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    check_window(window, num_steps)

    def step(rng_key, state):
        transition = transition_of(algorithm, state.position, fields)
        # This runs in a loop of BlackJAX, where no solver can be tried.
        x = jax.eval_shape(transition.ravel, state)
        choice = choose(
            solver, window, num_steps, x, None, profile=lambda: profile_of(transition, state)
        )
        final_state, (states, infos), info = _run(
            transition, choice.solver, choice.window, num_steps, keep_all, False, rng_key, state
        )
        return final_state, BlockInfo(states, infos, info)

    return SamplingAlgorithm(algorithm.init, step)
