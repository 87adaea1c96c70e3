"""What can be run: the suites, each a table of examples, and the solvers."""

import parallel_mcmc as pm
from benchmarks import blackjax_kernels, examples
from benchmarks.problems import Example
from parallel_mcmc import Solver

SUITES: dict[str, tuple[Example, ...]] = {
    "examples": examples.EXAMPLES,
    "blackjax": blackjax_kernels.EXAMPLES,
}

SOLVERS: dict[str, Solver] = {
    "deer": pm.deer(),
    "quasi-deer, 1 probe": pm.quasi_deer(),
    "quasi-deer, exact": pm.quasi_deer(pm.exact_diagonal()),
    "jacobi": pm.jacobi(),
    "picard": pm.picard(),
}
