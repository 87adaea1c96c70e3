"""What a row of a table runs: a kernel on a target, at some lengths, and its chain as a program."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import parallel_mcmc as pm
from parallel_mcmc import targets


class Problem(NamedTuple):
    """A kernel with its target, and ``rng_key -> position`` for where a chain starts."""

    transition: pm.Transition
    start: Callable[[Any], Any]

    def init(self, rng_key: Any) -> Any:
        return self.transition.init(self.start(rng_key), rng_key)


def starting_at(kernel: pm.Kernel, position: Any) -> Problem:
    return Problem(kernel.at(position), lambda key: position)


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One row of a table.

    Attributes:
        target, kernel: for the record.
        lengths: the T to run, each with the iterations to stay within, if any.
        build: ``(path of the data) -> Problem``; raises `FileNotFoundError` where it needs
            data that are not there.
        chains: run at once.
        window: steps solved together, all by default.
        gradients: of the log density, per step of a chain.
    """

    target: str
    kernel: str
    lengths: dict[int, int | None]
    build: Callable[[Path], Problem]
    chains: int = 1
    window: int | None = None
    gradients: int = 1


def credit_target(data: Path) -> targets.Target:
    if not data.is_file():
        raise FileNotFoundError(f"the German credit data are not at {data}; give --data")
    return targets.german_credit(data)


def keep_position(state: Any, info: Any) -> Any:
    """Draws are all that a user waits for."""
    return state.position


def solving(transition: pm.Transition, solver: Any, window: int | None = None) -> Callable:
    """``(state, inputs) -> (draws, report)``."""

    def solve(state, inputs):
        return pm.run_parallel(
            transition, state, inputs, solver=solver, window=window, transform=keep_position
        )[1:]

    return solve


class Chain(NamedTuple):
    """To be compiled: ``run(*arguments())`` gives the draws and a `SolveInfo`."""

    run: Callable
    arguments: Callable[[], tuple]
    transition: pm.Transition | None = None


def chain_of(build: Callable[[Path], Problem]) -> Callable[[Path, int, pm.Solver], Chain]:
    """From its start and its randomness, by a solver or step by step."""

    def chain(data: Path, T: int, solver: pm.Solver) -> Chain:
        problem = build(data)

        def arguments():
            key_start, key_inputs = jax.random.split(jax.random.key(0))
            state = problem.init(key_start)
            return state, problem.transition.draw_inputs(jax.random.split(key_inputs, T), state)

        return Chain(solving(problem.transition, solver), arguments, problem.transition)

    return chain
