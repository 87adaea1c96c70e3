"""The solvers: each is just a linearisation and a correction.

| solver                              | A_t                    | source                            |
|-------------------------------------|------------------------|-----------------------------------|
| `deer()`                            | the Jacobian           | arXiv:2309.12252, 2309.16318      |
| `quasi_deer()`                      | diagonal, one probe    | arXiv:2508.18413                  |
| `quasi_deer(exact_diagonal())`      | diagonal               | arXiv:2407.19115                  |
| `block_quasi_deer()`                | four diagonals         | arXiv:2508.18413                  |
| `picard()`                          | 1                      | arXiv:2506.09762                  |
| `jacobi()`                          | 0                      | arXiv:2509.21716                  |
| `jacobi(then=deer())`               | 0, then the Jacobian   | both                              |
| `elk()`                             | the Jacobian, penalised| arXiv:2407.19115                  |
| `quasi_elk()`                       | diagonal, penalised    | arXiv:2407.19115                  |
| `sequential()`                      | (step by step)         |                                   |

They differ only in speed: each returns the sequential chain, unless ``tol`` allows an error.
"""

from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.constants import TRUST_RADIUS
from parallel_mcmc._core.correction import Correct, limited, newton
from parallel_mcmc._core.linearize import Linearize
from parallel_mcmc._core.options import Partial, written
from parallel_mcmc._core.penalty import penalised
from parallel_mcmc._core.solver import Solver


def deer(
    max_norm: float | None = 1.0,
    trust_radius: float = TRUST_RADIUS,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solver:
    """Newton's method with the full Jacobian.

    Needs the fewest iterations. Costs D products with the Jacobian, D^2 memory and D^3 operations
    in the scan per step and iteration, so for up to 128 unknowns or so.

    Args:
        max_norm: limit on the spectral norm of each Jacobian, in coordinates scaled by their
            spread. Products of Jacobians overflow where the map expands; with 1 they stay bounded.
            None for plain Newton.
        trust_radius: if the residuals of a step and of the one before it are within this many
            spreads of the chain, its Jacobian is not limited.
        tol, max_iterations: as in `Solver`.
    """
    options = written(deer, max_norm=max_norm, trust_radius=trust_radius)
    correct = limits(max_norm, trust_radius)
    return Solver("deer", lin.dense, correct, options, tol, max_iterations)


def quasi_deer(
    linearize: Linearize | None = None,
    max_norm: float | None = 1.0,
    trust_radius: float = TRUST_RADIUS,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solver:
    """Quasi-Newton with a diagonal Jacobian: memory and scan as large as the chain itself.

    As good as Newton where the coordinates are nearly independent, that is, in
    whitened coordinates.

    Args:
        linearize: `hutchinson()` with one probe by default, `hutchinson(num_probes=k)`
            or `exact_diagonal()`.
        max_norm, trust_radius: as in `deer`; the limit is on each diagonal entry.
        tol, max_iterations: as in `Solver`.
    """
    options = written(quasi_deer, linearize=linearize, max_norm=max_norm, trust_radius=trust_radius)
    linearize = lin.hutchinson(1) if linearize is None else linearize
    correct = limits(max_norm, trust_radius)
    return Solver("quasi_deer", linearize, correct, options, tol, max_iterations)


def block_quasi_deer(
    linearize: Linearize | None = None,
    max_norm: float | None = 1.0,
    trust_radius: float = TRUST_RADIUS,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solver:
    """Quasi-Newton with 2x2 blocks, for states x = (q, p) of position and momentum.

    A leapfrog step on (position, momentum) rotates each coordinate, and the diagonal of its
    Jacobian alone says nothing. The diagonals of its four blocks say everything where the Hessian
    is diagonal (arXiv:2508.18413). For `solve` the state, as a vector, must have q in its first
    half and p in its second, such as the pytree ``(q, p)``.

    Four times the memory and eight times the scan of `quasi_deer`.

    Args:
        linearize: `hutchinson_blocks()` with one probe by default, `hutchinson_blocks(k)`
            or `exact_blocks()`.
        max_norm, trust_radius: as in `deer`; the limit is on the spectral norm of each 2x2
            block.
        tol, max_iterations: as in `Solver`.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> def f(x, h):  # a pendulum
    ...     q = x[0] + h * x[1]
    ...     return q, x[1] - h * jnp.sin(q)
    >>> x0, steps = (jnp.ones(1), jnp.zeros(1)), jnp.full(200, 0.01)
    >>> info = pm.solve(f, x0, steps, solver=pm.block_quasi_deer()).info
    >>> bool(info.num_iterations < 20)
    True
    """
    given = {"max_norm": max_norm, "trust_radius": trust_radius}
    options = written(block_quasi_deer, linearize=linearize, **given)
    linearize = lin.hutchinson_blocks(1) if linearize is None else linearize
    correct = limits(max_norm, trust_radius)
    return Solver("block_quasi_deer", linearize, correct, options, tol, max_iterations)


def elk(
    penalty: float = 0.01,
    trust_radius: float = 0.3,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solver:
    """Levenberg-Marquardt with the full Jacobian, by a Kalman smoother (arXiv:2407.19115).

    The correction d, ``(T, D)``, is the least-squares solution::

        minimise  sum_t |d_t - A_t d_{t-1} - r_t|^2 + penalty |d_t|^2

    in units of the spread of the chain. Where Newton's correction (penalty 0) is within the
    ``trust_radius`` it is used instead, so the last iterations converge like Newton's. Solved
    steps are kept fixed, so the first i states are exact after i iterations.

    For chains with stretches in which the map expands. Costs D products with the Jacobian, D^2
    memory and some ten D^3 operations per step and iteration, a few times those of `deer`.

    Args:
        penalty: larger is more careful and slower. No d_t is longer than the norm of all
            residuals over ``2 sqrt(penalty)``.
        trust_radius: Newton's corrections up to this many spreads are kept; 0 penalises every
            correction, as the paper does.
        tol, max_iterations: as in `Solver`.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> f = lambda x, u: 2 * jnp.tanh(2 * x) + u
    >>> pm.solve(f, jnp.zeros(2), jnp.ones((50, 2)), solver=pm.elk()).trajectory.shape
    (50, 2)
    """
    options = written(elk, penalty=penalty, trust_radius=trust_radius)
    correct = penalty_of(penalty, trust_radius)
    return Solver("elk", lin.dense, correct, options, tol, max_iterations)


def quasi_elk(
    linearize: Linearize | None = None,
    penalty: float = 0.01,
    trust_radius: float = 0.3,
    *,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solver:
    """`elk` with a diagonal Jacobian (arXiv:2407.19115): memory and smoother as large as the chain.

    A few elementwise operations per step and iteration on top of those of `quasi_deer`.

    Args:
        linearize: `hutchinson()` with one probe by default, `hutchinson(num_probes=k)`
            or `exact_diagonal()`, which is the method of the paper.
        penalty, trust_radius: as in `elk`.
        tol, max_iterations: as in `Solver`.

    >>> import parallel_mcmc as pm
    >>> solver = pm.quasi_elk(pm.exact_diagonal(), penalty=1.0)
    """
    options = written(quasi_elk, linearize=linearize, penalty=penalty, trust_radius=trust_radius)
    linearize = lin.hutchinson(1) if linearize is None else linearize
    correct = penalty_of(penalty, trust_radius)
    return Solver("quasi_elk", linearize, correct, options, tol, max_iterations)


def penalty_of(penalty: float, trust_radius: float) -> Correct:
    if not penalty > 0:
        raise ValueError(
            f"penalty must be positive, got {penalty}; pm.deer() and pm.quasi_deer() have none."
        )
    return Partial.of(penalised, penalty=penalty, trust_radius=trust_radius)


def limits(max_norm: float | None, trust_radius: float) -> Correct:
    if max_norm is None:
        return newton
    return Partial.of(limited, max_norm=max_norm, trust_radius=trust_radius)


def picard(*, tol: float | None = None, max_iterations: int | None = None) -> Solver:
    """Fixed-point iteration on the sum x_t = x_0 + sum of increments: no derivatives.

    Args:
        tol, max_iterations: as in `Solver`.
    """
    return Solver("picard", lin.identity, tol=tol, max_iterations=max_iterations)


def jacobi(
    *, then: Solver | None = None, tol: float | None = None, max_iterations: int | None = None
) -> Solver:
    """x_t <- f(x_{t-1}, u_t) for all t: no derivatives, no scan.

    For chains that forget their state in a few steps, such as HMC over a quarter
    period of a whitened posterior.

    Far from the solution a linearisation says little, and Jacobi's iterations cost a third of
    Newton's; close to it Newton's method needs few more. So ``jacobi(then=deer())`` mostly takes
    fewer gradients in turn than either of them where chains forget slowly.

    Args:
        then: a solver with derivatives that takes over once fewer than one step in 1,000 have a
            residual of more than 0.03 spreads; None for Jacobi to the end.
        tol, max_iterations: as in `Solver`, for each of the two.

    Raises:
        ValueError: if ``then`` is not a solver with derivatives, or has a ``tol`` or limit of its
            own.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> f, x0, inputs = lambda x, u: 0.9 * x + u, jnp.zeros(1), jnp.ones((150, 1))
    >>> infos = [
    ...     pm.solve(f, x0, inputs, solver=solver).info
    ...     for solver in (pm.jacobi(then=pm.deer()), pm.jacobi())
    ... ]
    >>> bool(infos[0].num_in_turn < infos[1].num_in_turn)
    True
    """
    if then is None:
        return Solver("jacobi", lin.zero, tol=tol, max_iterations=max_iterations)
    if not isinstance(then, Solver) or then.linearize in (None, lin.identity, lin.zero):
        raise ValueError(
            f"then must be a solver with derivatives, such as pm.deer(), got {then!r}."
        )
    if (then.tol, then.max_iterations) != (None, None):
        raise ValueError(f"Give tol and max_iterations to pm.jacobi(), not to {then}.")
    options = f"then={then!r}"
    return Solver("jacobi", lin.zero, newton, options, tol, max_iterations, then)


def sequential() -> Solver:
    """Step by step: the reference, and faster for cheap models on a CPU."""
    return Solver("sequential", None)
