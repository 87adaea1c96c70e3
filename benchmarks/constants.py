"""What the numbers of the iteration are worth: iterations with each halved, and doubled.

On kernels that are hard for Newton's methods, four chains at once. The chains are right with any of
the numbers; what they decide is how many iterations that takes, and whether they suffice.
"""

import functools
import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

import jax
import numpy as np

import parallel_mcmc as pm
from benchmarks import hard, paper
from benchmarks.chains import Case, prepare
from benchmarks.measure import Options, Row
from benchmarks.problem import solving
from benchmarks.records import Record
from parallel_mcmc._core import constants

T, CHAINS = 1_024, 4
CHANGES = {1.0: "", 0.5: "half", 2.0: "twice"}
NAMES = (
    "TRUST_RADIUS", "SPREAD_ROWS", "NOISE", "STANDING", "FEW", "PROPORTION", "ENLARGED",
)  # fmt: skip

KERNELS = (
    "banana/HMC, step 0.5", "mixture/MALA, step 0.5", "Student-t(3)/HMC", "banana/MALA",
    "condition 1e4/HMC", "funnel/MALA",
)  # fmt: skip
"""Parts of the names of defaults and hard."""


def rows(options: Options, part: str) -> Iterator[Row]:
    """Each number as it is, halved and doubled, and each solver."""
    variants = [(None, 1.0), *itertools.product(NAMES, (0.5, 2.0))]
    for (name, factor), solver in itertools.product(variants, ("deer", "quasi-deer, 1 probe")):
        measure, only = (
            partial(measured, name, factor, solver, options),
            f"{name}/{factor}/{solver}/",
        )
        yield Row(name or "as they are", CHANGES[factor], T, solver, measure, only)


@functools.cache
def prepared(options: Options) -> list[Case]:
    examples = {f"{e.target}/{e.kernel}": e for e in (*paper.DEFAULTS, *hard.EXAMPLES)}
    return [
        prepare(example.build(options.data), T, CHAINS, options.seed)
        for name, example in examples.items()
        if "NUTS" not in name and any(part in name for part in KERNELS)
    ]


def measured(name: str | None, factor: float, solver: str, options: Options) -> Record:
    cases = prepared(options)
    with varied(name, factor) as value:
        # After the number has changed, which a solver may be made of.
        made = pm.deer if solver == "deer" else pm.quasi_deer
        limited = options.limited(made(trust_radius=constants.TRUST_RADIUS))
        infos = [
            jax.jit(jax.vmap(solving(case.problem.transition, limited)))(case.state, case.inputs)[1]
            for case in cases
        ]
    iterations = [int(info.num_iterations.sum()) for info in infos]
    unsolved = [np.asarray(info.status) != pm.Status.CONVERGED for info in infos]
    return {
        "chains": CHAINS * len(cases), "value": value, "factor": factor,
        "iterations": sum(iterations), "iterations_of_kernels": iterations,
        "num_unsolved": int(np.sum(unsolved)),
    }  # fmt: skip


@contextmanager
def varied(name: str | None, factor: float) -> Iterator[float | None]:
    """The number times a factor, wherever the package has it; None leaves all as they are."""
    if name is None:
        yield None
        return
    number = getattr(constants, name)
    value = type(number)(number * factor)
    with ExitStack() as stack:
        for module in [m for key, m in sys.modules.items() if key.startswith("parallel_mcmc")]:
            if getattr(module, name, None) == number:
                stack.enter_context(mock.patch.object(module, name, value))
        yield value
