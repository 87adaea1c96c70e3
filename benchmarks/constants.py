"""What the numbers of the iteration are worth: iterations with each halved, and doubled.

On kernels that are hard for Newton's methods, four chains at once. The chains are right with any of
the numbers; what they decide is how many iterations that takes, and whether they suffice.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import jax
import numpy as np

import parallel_mcmc as pm
from benchmarks import examples, hard
from benchmarks.measure import Options, header
from benchmarks.records import Record
from benchmarks.runs import Case, keep_position, prepare
from parallel_mcmc._core import constants

T, CHAINS = 1_024, 4
FACTORS = 0.5, 2.0
CHANGES = {1.0: "", 0.5: "half", 2.0: "twice"}
NAMES = (
    "TRUST_RADIUS", "SPREAD_ROWS", "NOISE", "MOST_STEPS", "STALLED", "STANDING",
    "FEW", "PROPORTION",
)  # fmt: skip

KERNELS = (
    "banana/HMC, step 0.5", "mixture/MALA, step 0.5", "Student-t(3)/HMC", "banana/MALA",
    "condition 1e4/HMC", "funnel/MALA",
)  # fmt: skip
"""Parts of the names of suites defaults and hard."""


def run(options: Options) -> Iterator[Record]:
    """The records, one by one: for each number as it is, halved and doubled, and each solver."""
    cases = list(prepared(options))
    variants = [(None, 1.0), *((name, factor) for name in NAMES for factor in FACTORS)]
    for name, factor in variants:
        for solver in ("deer", "quasi-deer, 1 probe"):
            if options.selected(f"{name}/{factor}/{solver}/"):
                yield run_one(name, factor, solver, cases, options)


def prepared(options: Options) -> Iterator[Case]:
    for example in (*examples.DEFAULTS, *hard.EXAMPLES):
        name = f"{example.target}/{example.kernel}"
        if "NUTS" not in name and any(part in name for part in KERNELS):
            yield prepare(example.build(options.data), T, CHAINS, options.seed)


def run_one(
    name: str | None, factor: float, solver: str, cases: list[Case], options: Options
) -> Record:
    with varied(name, factor) as value:
        # After the number has changed, which a solver may be made of.
        made = pm.deer if solver == "deer" else pm.quasi_deer
        solver_as_it_is = made(trust_radius=constants.TRUST_RADIUS)
        infos = [solved(case, solver_as_it_is, options) for case in cases]
    iterations = [np.asarray(info.num_iterations) for info in infos]
    unsolved = [np.asarray(info.status) != pm.Status.CONVERGED for info in infos]
    return {
        **header(options, name or "as they are", CHANGES[factor], T, solver),
        "chains": CHAINS * len(cases),
        "value": value,
        "factor": factor,
        "iterations": int(np.sum(iterations)),
        "iterations_of_kernels": [int(n.sum()) for n in iterations],
        "num_unsolved": int(np.sum(unsolved)),
        "num_frontier_steps": sum(int(info.num_frontier_steps.sum()) for info in infos),
    }


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


def solved(case: Case, solver: pm.Solver, options: Options) -> pm.SolveInfo:
    def solve(state, inputs):
        return pm.run_parallel(
            case.problem.transition,
            state,
            inputs,
            solver=options.limited(solver),
            transform=keep_position,
        )[2]

    return jax.jit(jax.vmap(solve))(case.state, case.inputs)
