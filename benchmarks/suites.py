"""What can be run: the suites, each a table of examples, and the solvers."""

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, defaults, examples, hard, paper
from benchmarks.problems import Example
from parallel_mcmc import Solver
from parallel_mcmc._core.auto import Auto

SUITES: dict[str, tuple[Example, ...]] = {
    "examples": examples.EXAMPLES,
    "blackjax": blackjax_kernels.EXAMPLES,
    "hard": hard.EXAMPLES,
    "defaults": defaults.EXAMPLES,
    "auto": examples.EXAMPLES,
    "paper": paper.EXAMPLES,
}

SOLVERS: dict[str, Solver | Auto] = {
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
    "quasi-deer, exact": pm.quasi_deer(pm.exact_diagonal()),
    "jacobi": pm.jacobi(),
    "picard": pm.picard(),
    "elk": pm.elk(),
    "quasi-elk": pm.quasi_elk(),
    # As on an accelerator: on a CPU the choice is to run step by step.
    "auto": pm.auto(platform="gpu"),
    "auto, here": pm.auto(),
}

ONLY_IN = {
    "elk": ("hard",),
    "quasi-elk": ("hard",),
    "auto": ("hard", "defaults"),
    "auto, here": ("auto",),
}
"""Solvers that some suites alone run."""

MAX_UNKNOWNS = {"deer": 64, "elk": 64, "quasi-deer, exact": 128}
"""Up to which solvers are tried that take a product with the Jacobian per unknown."""


def solvers_for(suite: str, dim: int) -> list[str]:
    """Names of the solvers that a suite runs for so many unknowns."""
    if suite == "auto":
        return ["auto, here"]
    return [
        name
        for name in SOLVERS
        if suite in ONLY_IN.get(name, (suite,)) and dim <= MAX_UNKNOWNS.get(name, dim)
    ]
