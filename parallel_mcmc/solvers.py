"""The solvers: each is a linearisation, a linear solve and a limit, and nothing else.

| solver                              | A_t                    | source                            |
|-------------------------------------|------------------------|-----------------------------------|
| `deer()`                            | the Jacobian           | arXiv:2309.12252, 2309.16318      |
| `quasi_deer()`                      | diagonal, one probe    | arXiv:2508.18413                  |
| `quasi_deer(exact_diagonal())`      | diagonal               | arXiv:2407.19115                  |
| `picard()`                          | 1                      | arXiv:2506.09762                  |
| `jacobi()`                          | 0                      | arXiv:2509.21716                  |
| `sequential()`                      | (step by step)         |                                   |

They differ in speed alone: every one of them returns the sequential chain.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from parallel_mcmc import linearize as lin
from parallel_mcmc.linearize import Linearize
from parallel_mcmc.scans import affine_scan


class Solver(NamedTuple):
    """How one iteration is made.

    Attributes:
        name: as it appears in reports.
        linearize: ``(f, x_prev, inputs, rng_key) -> (f_values, A)``; None runs step by step.
        solve_linear: ``(A, r) -> d``, the solution of d_t = A_t d_{t-1} + r_t with d_0 = 0.
        max_norm: limit on the norm of each A_t, in coordinates scaled by their spread; it is
            kept to where Newton's correction leaves the ``trust_radius``. Products of A_t
            overflow where the map expands; with a limit of 1 they stay bounded. None for
            no limit anywhere.
        trust_radius: size up to which Newton's correction is taken, in spreads of the chain.
        reach: distance from the middle of the chain, in its spreads, beyond which no
            correction takes a state.
    """

    name: str
    linearize: Linearize | None
    solve_linear: Callable = affine_scan
    max_norm: float | None = 1.0
    trust_radius: float = 0.3
    reach: float = 8.0


@functools.cache
def deer(max_norm: float | None = 1.0, trust_radius: float = 0.3, reach: float = 8.0) -> Solver:
    """Newton's method with the full Jacobian.

    Fewest iterations; D products with the Jacobian, D^2 memory and D^3 scans per
    step and iteration, so for up to about 50 dimensions.

    Args:
        max_norm: limit on the spectral norm of each Jacobian; None for plain Newton.
        trust_radius: corrections larger than this many spreads of the chain come from
            the limited Jacobians.
        reach: no correction takes a state further than this many spreads from the middle.
    """
    return Solver("deer", lin.dense, affine_scan, max_norm, trust_radius, reach)


@functools.cache
def quasi_deer(
    linearize: Linearize | None = None,
    max_norm: float | None = 1.0,
    trust_radius: float = 0.3,
    reach: float = 8.0,
) -> Solver:
    """Quasi-Newton with a diagonal: memory and scan as the chain itself.

    As good as Newton where the coordinates are nearly independent, that is, in
    whitened coordinates.

    Args:
        linearize: `hutchinson()` with one probe by default, `hutchinson(num_probes=k)`
            or `exact_diagonal()`.
        max_norm, trust_radius, reach: as in `deer`, the limit on each diagonal entry.
    """
    linearize = lin.hutchinson(1) if linearize is None else linearize
    return Solver("quasi_deer", linearize, affine_scan, max_norm, trust_radius, reach)


@functools.cache
def picard() -> Solver:
    """Fixed-point iteration on the sum x_t = x_0 + sum of increments: no derivatives."""
    return Solver("picard", lin.identity, max_norm=None)


@functools.cache
def jacobi() -> Solver:
    """x_t <- f(x_{t-1}, u_t) for all t: no derivatives, no scan.

    For chains that forget their state in a few steps, such as HMC over a quarter
    period of a whitened posterior.
    """
    return Solver("jacobi", lin.zero, max_norm=None)


@functools.cache
def sequential() -> Solver:
    """Step by step: the reference, and the faster choice for cheap models on a CPU."""
    return Solver("sequential", None)
