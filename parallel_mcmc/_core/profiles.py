"""What a step asks of JAX and of a device, found by tracing it: `auto` chooses a solver by it.

On an accelerator an operation takes as long as its launch until its arrays are large. A step of one
chain mostly stays below that. All steps of a chain at once may not, least of all with a product of
each Jacobian for every unknown: then an evaluation takes many times as long as a step of the loop.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from parallel_mcmc._core.ability import Ability, Recursion, ability
from parallel_mcmc._core.time_blocks import called_by, num_bytes_of

FULL = 3.75e6
"""Bytes of an array whose operation takes as long as its launch, 2.5 us: in that time an H100 moves
7.5 MB, and an array is read and written. Larger ones take longer in proportion.

docs/benchmarks.md compares what follows with the programs of real models.
"""

VIEWS = {
    "broadcast_in_dim", "convert_element_type", "copy", "iota", "reshape", "slice", "squeeze",
    "stop_gradient", "transpose",
}  # fmt: skip
"""Operations that compilers do not make kernels of."""

COMBINING = "scatter", "reduce", "select_and_scatter"
"""How the names of operations begin whose functions combine two numbers."""


class Profile(NamedTuple):
    """What a step asks for.

    Attributes:
        able: what JAX can do with it.
        arrays: bytes that an operation writes, and how many operations write as many; the body of
            a loop counts once. Empty if they are small.
    """

    able: Ability = Ability.DERIVATIVES
    arrays: tuple[tuple[int, int], ...] = ()

    def slowdown(self, num_states: float, num_products: int = 1) -> float:
        """How many times as long an evaluation takes as one whose arrays are small.

        At ``num_states``, with ``num_products`` with each Jacobian, all side by side. The mean over
        the operations; over that of a step, how many steps it takes as long as.
        """
        number = sum(count for _, count in self.arrays)
        times = num_states * num_products / FULL
        total = sum(count * max(1.0, times * size) for size, count in self.arrays)
        return total / number if number else 1.0


def profile(f: Recursion, x: Any, inputs: Any) -> Profile:
    """The profile of f, without an evaluation; the arguments are those of `ability`."""
    able = ability(f, x, inputs)
    if able == Ability.STEPS:
        return Profile(able)
    first = jax.eval_shape(lambda inputs: jax.tree.map(lambda leaf: leaf[0], inputs), inputs)
    sizes = Counter(written(jax.make_jaxpr(f)(x, first).jaxpr))
    return Profile(able, tuple(sorted(sizes.items())))


def written(jaxpr: Any) -> Iterator[int]:
    """The bytes that each operation writes, those of functions and loops within it included."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [] if name.startswith(COMBINING) else called_by(equation)
        for value in inner:
            yield from written(getattr(value, "jaxpr", value))
        if not inner and name not in VIEWS:
            yield sum(num_bytes_of(v.aval) for v in equation.outvars)
