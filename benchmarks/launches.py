"""What a launch, a wait and a loop cost on this device: what the model of `gpu_costs` is made of.

Loops over chains of small kernels that cannot be fused, some with a `cond` or another loop among
them. Their turns are known when they run, not when they are compiled. Kernels and waits of a turn
are counted in the compiled program, so that time over both gives the cost of each.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gpu_costs import cost_of_program, main_loop, nested, plus
from benchmarks.measure import Options, Row, compile_for, timed
from benchmarks.records import Record

WIDTH, TURNS = 64, 1_000
FLAG = "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL"
"""Loops and conditions within CUDA graphs, which the device goes through by itself."""


def chain(x: Any, length: int) -> Any:
    """``length`` kernels."""
    weights = jnp.cos(jnp.arange(float(WIDTH * WIDTH))).reshape(WIDTH, WIDTH) / WIDTH
    for _ in range(length):
        x = jnp.sum(weights * jnp.tanh(x), axis=1)
    return x


def kernels(length: int) -> Callable:
    return lambda x, i: chain(x, length)


def condition(x: Any, i: Any) -> Any:
    """Of two halves one is in a branch, which is taken in every turn."""
    x = chain(x, 16)
    return jax.lax.cond(x[0] < 2, lambda x: chain(x, 16), lambda x: -x, x)


def inner_loop(turns: int) -> Callable:
    """One half is in a loop of that many turns."""

    def body(x: Any, i: Any) -> Any:
        x = chain(x, 16)
        end = i + turns + (x[0] > 2)
        return jax.lax.while_loop(
            lambda carry: carry[0] < end, lambda carry: (carry[0] + 1, chain(carry[1], 16)), (i, x)
        )[1]

    return body


KNOWN = "32 kernels, length known"
BODIES: dict[str, Callable] = {
    "8 kernels": kernels(8),
    "32 kernels": kernels(32),
    "128 kernels": kernels(128),
    "a condition": condition,
    "a loop of no turn": inner_loop(0),
    "a loop of one turn": inner_loop(1),
    "a loop of two turns": inner_loop(2),
    KNOWN: kernels(32),
}
NUM_INNER = {"a loop of one turn": 1, "a loop of two turns": 2}


def flags_are_set() -> bool:
    return FLAG in os.environ.get("XLA_FLAGS", "")


def rows(options: Options, turns: int = TURNS) -> Iterator[Row]:
    flags = "loops in graphs" if flags_are_set() else "as by default"
    for name in BODIES:
        measure = partial(measured, name, turns, options)
        yield Row("loop", name, turns, flags, measure, only=f"launches/{name}")


def measured(name: str, turns: int, options: Options) -> Record:
    def loop(x, end):
        return jax.lax.while_loop(
            lambda carry: carry[1] < (turns if name == KNOWN else end),
            lambda carry: (BODIES[name](*carry), carry[1] + 1),
            (x, jnp.zeros_like(end)),
        )[0]

    program = compile_for(loop, jnp.ones(WIDTH), jnp.asarray(turns))
    found = main_loop(cost_of_program(program.compiled.as_text()).loops)
    assert found is not None
    inner = [loop.turn for loop in nested(found)]
    cost = plus(found.turn, *(NUM_INNER.get(name, 0) * inner))
    program()
    times = timed({"seconds": program}, options)
    return {
        "kernels": cost.kernels, "waits": cost.waits, "seconds_model": cost.seconds,
        "seconds_turn": times["seconds"] / turns,
        **times,
    }  # fmt: skip
