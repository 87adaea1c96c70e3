"""The solvers that the tests go through, by name."""

import parallel_mcmc as pm

SOLVERS = {
    "deer": pm.deer(),
    "quasi_deer": pm.quasi_deer(),
    "exact_diagonal": pm.quasi_deer(pm.exact_diagonal()),
    "two_probes": pm.quasi_deer(pm.hutchinson(num_probes=2)),
    "elk": pm.elk(),
    "quasi_elk": pm.quasi_elk(),
    "picard": pm.picard(),
    "jacobi": pm.jacobi(),
    "jacobi_then_deer": pm.jacobi(then=pm.deer()),
    "sequential": pm.sequential(),
}
