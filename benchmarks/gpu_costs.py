"""What a program that XLA compiled for a GPU costs, read off its text.

Counted are kernels, copies and calls of libraries; waits, in which the host reads a predicate, one
for each look of a loop whose number of turns is not known and for each `cond`; and bytes that
kernels read and write, of a slice those of the slice. A loop of known length counts for all of its
turns, a `cond` by its costlier branch. A loop of unknown length counts for one look, and what a
turn adds is listed for itself. Seconds are a model: what a kernel takes at least, a rate of memory,
and what a wait takes.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.hlo import FUSIONS, Instruction, fused_by, names_after, num_bytes_moved, parse

KERNEL_SECONDS, WAIT_SECONDS, BYTES_PER_SECOND = 2.5e-6, 12e-6, 3e12

FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier",
}  # fmt: skip
"""Operations that launch nothing."""


class Cost(NamedTuple):
    """``seconds`` are those of the model."""

    kernels: int = 0
    waits: int = 0
    bytes: int = 0
    seconds: float = 0.0


WAIT = Cost(waits=1, seconds=WAIT_SECONDS)


def plus(*costs: Cost) -> Cost:
    return Cost(*map(sum, zip(*costs, strict=True)))


def times(turns: int, cost: Cost) -> Cost:
    return Cost(*(turns * amount for amount in cost))


class Loop(NamedTuple):
    """A loop, with what a turn of it costs.

    Attributes:
        turns: None if that is not known before it runs.
        turn: its body; with a look at the predicate where the number of turns is not known.
        inner: loops in it, which of unknown length count for no turn in ``turn``.
        name: JAX's, of the operation that it comes from.
    """

    turns: int | None
    turn: Cost
    inner: tuple["Loop", ...]
    name: str


class Part(NamedTuple):
    """A computation that runs once: its cost, and the loops in it."""

    cost: Cost
    loops: tuple[Loop, ...] = ()


def main_loop(loops: Sequence[Loop]) -> Loop | None:
    """The rounds of a solve: the first loop of unknown length, of any if there is none.

    A compiled program is written in the order in which it runs, and the loops that finish a chain
    step by step come after.
    """
    return next(iter([*of_unknown_length(loops), *loops]), None)


def of_unknown_length(loops: Sequence[Loop]) -> Iterator[Loop]:
    """The outermost of them."""
    for loop in loops:
        if loop.turns is None:
            yield loop
        else:
            yield from of_unknown_length(loop.inner)


def nested(loop: Loop) -> Iterator[Loop]:
    """The loops of unknown length inside, at any depth."""
    for inner in of_unknown_length(loop.inner):
        yield inner
        yield from nested(inner)


def cost_of_program(text: str) -> Part:
    """What a run of a compiled program costs, but for the turns of its loops of unknown length."""
    module, entry = parse(text)

    @functools.cache
    def part(name: str) -> Part:
        shapes = {i.name: i.shape for i in module[name]}
        parts = [of_one(i, shapes) for i in module[name] if launches(i)]
        loops = (loop for p in parts for loop in p.loops)
        return Part(plus(Cost(), *(p.cost for p in parts)), tuple(loops))

    def of_one(instruction: Instruction, shapes: dict[str, str]) -> Part:
        """The cost of one instruction, with that of the computations that it calls."""

        def called(*keys: str) -> list[Part]:
            return [part(name) for name in names_after(keys, instruction.attributes)]

        if instruction.operation == "while":
            return of_loop(instruction, *called("body", "condition"))
        if instruction.operation == "conditional":
            branches = called("branch_computations", "true_computation", "false_computation")
            costliest = max(branches, key=with_a_turn_of_each)
            return Part(plus(costliest.cost, WAIT), costliest.loops)
        if instruction.operation == "call":
            return called("to_apply")[0]
        moved = num_bytes_moved(module, instruction, shapes)
        kernel = Cost(1, 0, moved, max(KERNEL_SECONDS, moved / BYTES_PER_SECOND))
        return Part(times(1 + num_copies(instruction), kernel))

    def num_copies(instruction: Instruction) -> int:
        """Arrays that are copied first, as a sort, in place, does with those it is given."""
        if instruction.operation == "sort":
            return len(instruction.operands)
        if instruction.operation not in FUSIONS:
            return 0
        operations = [i.operation for i in fused_by(module, instruction)]
        return operations.count("parameter") if "sort" in operations else 0

    return part(entry)


def launches(instruction: Instruction) -> bool:
    operation = instruction.operation
    return operation not in FREE and not operation.endswith(("-done", "-update"))


def of_loop(instruction: Instruction, body: Part, condition: Part) -> Part:
    match = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.attributes)
    turns = int(match[1]) if match else None
    look = plus(condition.cost, WAIT)
    turn = body.cost if match else plus(body.cost, look)
    name = re.search(r'op_name="([^"]*)"', instruction.attributes)
    loop = Loop(turns, turn, body.loops, name[1] if name else "")
    return Part(look if turns is None else times(turns, turn), (loop,))


def with_a_turn_of_each(found: Part) -> float:
    return found.cost.seconds + sum(loop.turn.seconds for loop in found.loops if not loop.turns)
