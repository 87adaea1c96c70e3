"""Whether a chain is worth solving in parallel: its predictability (arXiv:2508.16817).

Three consequences of the exponent lambda, and of rho = exp(lambda), for T steps:

**Iterations.** An error e_t of a Jacobi iterate becomes J_t e_{t-1} in the next one, so i
iterations multiply it by i Jacobians. The log of that product is i lambda, give or take
sigma sqrt(i), and the worst of T such stretches is about sqrt(2 log T) standard deviations out:

    i lambda + sigma sqrt(2 i log T) = log tol,       sigma^2 = T * standard_error^2.

With sigma = 0 that is log(1 / tol) / |lambda|. It is a rule of thumb, not a bound. It assumes
errors so small that derivatives describe them, and a guess about one spread away. Newton's method
needs O(log T) iterations of O(log T) depth for lambda < 0 (arXiv:2508.16817), with constants that
are not known here; mostly it needs fewer than Jacobi. T iterations suffice for every method: that
is a bound, and if lambda >= 0 fewer cannot be expected.

**Error.** With residuals r_t the error is, to first order, e_t = J_t e_{t-1} + r_t, a sum of
products Phi r_s. By the Cauchy-Schwarz inequality with weights w^(t-s), for any w in (0, 1),

    |e_t|_i  <=  sqrt((P_t)_ii / (1 - w)) max_s |r_s|,        P_t = J_t P_{t-1} J_t' / w + 1.

With w = (1 + rho) / 2 and all J_t = rho this is 1.15 to 1.41 times the geometric sum,
max |r| / (1 - rho). That sum alone is not a bound if J_t varies: in a run of rejections J_t = 1,
and residuals add up. The bound holds to first order: it is exact for linear recursions, and
ignores accept decisions that the error flips.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.ability import Ability, Recursion, ability
from parallel_mcmc._core.lyapunov import MAX_DENSE, Growth, growth_of, log_growth
from parallel_mcmc._core.rows import before
from parallel_mcmc._core.time_blocks import map_steps
from parallel_mcmc._core.tolerance import spread


class Predictability(NamedTuple):
    """How perturbations of a chain grow or shrink, as arrays: with a leading axis under `vmap`.

    Attributes:
        exponent: the largest Lyapunov exponent, in nats per step.
        standard_error: of the exponent.
        contraction: exp(exponent), the factor by which a perturbation shrinks or grows per step.
        expected_iterations: of Jacobi for these T steps, a rule of thumb; T if the exponent
            is not negative.
        amplification: the error in a coordinate that residuals can add up to, per unit of the
            largest one (2-norm over a step, in spreads of the chain). A bound to first order, with
            accept decisions held fixed. It is inf if the exponent is not negative, and NaN (not
            computed) for more unknowns than ``max_dense`` and without forward-mode derivatives.
        error_bound: amplification times the residual of this trajectory, in spreads.
        num_steps: T.
    """

    exponent: Float[Array, ""]
    standard_error: Float[Array, ""]
    contraction: Float[Array, ""]
    expected_iterations: Float[Array, ""]
    amplification: Float[Array, ""]
    error_bound: Float[Array, ""]
    num_steps: Int[Array, ""]

    def verdict(self) -> str:
        """What this means for a parallel solve, in words.

        With several chains it is about the least predictable one; "within the error" means two
        standard errors. For use outside `jit`.

        >>> import jax.numpy as jnp, parallel_mcmc as pm
        >>> f = lambda x, u: 0.5 * x + u
        >>> solution = pm.solve(f, jnp.zeros(1), jnp.ones((400, 1)), diagnose=True)
        >>> print(solution.predictability.verdict())
        The chain forgets perturbations by a factor 0.5 per step (exponent -0.693 +- 0.000): a \
parallel solve pays, with about 17 Jacobi iterations for 400 steps.
        """
        return verdict(self)


def unknown(dtype: Any) -> Predictability:
    """The value before anything is known."""
    nan, zero = jnp.full((), jnp.nan, dtype), jnp.zeros((), jnp.int32)
    return Predictability(nan, nan, nan, nan, nan, nan, num_steps=zero)


def assess(
    f: Recursion,
    x0: Float[Array, " D"],
    inputs: Any,
    trajectory: Float[Array, "T D"],
    tol: Any,
    rng_key: Any = None,
    max_dense: int = MAX_DENSE,
) -> Predictability:
    """The predictability of a chain of vectors. Traceable.

    Costs two passes over the chain, one of them with D products with the Jacobian per step; on
    an accelerator in parallel, with D^2 memory per step.
    """
    rng_key = jax.random.key(0) if rng_key is None else rng_key
    x_prev = before(trajectory, x0)
    growth = growth_of(log_growth(f, x_prev, inputs, rng_key, max_dense))
    exponent = growth.exponent
    rho = jnp.exp(exponent.value)
    if x0.size > max_dense or ability(f, x0, inputs) < Ability.DERIVATIVES:
        amplified = error_bound = jnp.full_like(rho, jnp.nan)
    else:
        scale = spread(trajectory)
        scale = jnp.where(scale > 0, scale, 1)
        r = (map_steps(f, x_prev, inputs) - trajectory) / scale
        amplified = amplification(f, x_prev, inputs, scale, rho)
        # If rounding is amplified without limit, a residual of zero guarantees nothing.
        error_bound = amplified * jnp.max(jnp.linalg.norm(r, axis=-1))
        error_bound = jnp.where(jnp.isposinf(amplified), jnp.inf, error_bound)
    return Predictability(
        exponent=exponent.value,
        standard_error=exponent.standard_error,
        contraction=rho,
        expected_iterations=expected_iterations(growth, tol, trajectory.shape[0]),
        amplification=amplified,
        error_bound=error_bound,
        num_steps=jnp.asarray(trajectory.shape[0], jnp.int32),
    )


def expected_iterations(growth: Growth, tol: Any, num_steps: Any) -> Float[Array, ""]:
    """The rule of thumb above for Jacobi's iterations, from 1 to T, for ``num_steps`` steps.

    If some steps forget everything, a fraction p of them, the longest stretch without such a step
    counts: about log(p T) / -log(1 - p).
    """
    T, rate, sigma = num_steps, -growth.exponent.value, growth.deviation
    log_T = jnp.log(jnp.asarray(T, rate.dtype))
    b, c = sigma * jnp.sqrt(2 * log_T), -jnp.log(jnp.asarray(tol, rate.dtype))
    smooth = ((b + jnp.sqrt(b**2 + 4 * rate * c)) / (2 * rate)) ** 2
    p = growth.forgetful
    renewed = 1 + jnp.log(jnp.maximum(p * T, 1)) / -jnp.log1p(-p)
    smooth = jnp.where((rate > 0) & jnp.isfinite(sigma), smooth, T)
    expected = jnp.where(p > 0, renewed, jnp.where(jnp.isnan(rate), rate, smooth))
    return jnp.where(jnp.isnan(expected), expected, jnp.clip(jnp.ceil(expected), 1, T))


def amplification(
    f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, scale: Float[Array, " D"], rho: Any
) -> Float[Array, ""]:
    """max_t,i sqrt((P_t)_ii / (1 - w)), with coordinates in units of ``scale``."""
    w = jnp.minimum((1 + rho) / 2, 1)
    factor = scale / scale[:, None] / jnp.sqrt(w)
    loop, tree = (functools.partial(squares, f) for squares in (loop_squares, tree_squares))
    with jax.default_matmul_precision("highest"):
        squares = jax.lax.platform_dependent(x_prev, inputs, factor, cpu=loop, default=tree)
    largest = jnp.max(squares)
    # An overflow may end as NaN.
    bounded = jnp.isfinite(largest) & (rho < 1)
    return jnp.where(bounded, jnp.sqrt(largest / (1 - jnp.where(bounded, w, 0))), jnp.inf)


def loop_squares(f, x_prev, inputs, factor):
    """The diagonals of P_t = A_t P_{t-1} A_t' + 1 step by step, for A_t = ``factor * J_t``."""
    one = jnp.eye(factor.shape[0], dtype=factor.dtype)

    def step(P, x_and_u):
        x, u = jax.tree.map(lambda leaf: leaf[None], x_and_u)
        A = factor * lin.dense(f, x, u)[1].matrix[0]
        P = A @ P @ A.T + one
        return P, jnp.diagonal(P)

    return jax.lax.scan(step, jnp.zeros_like(one), (x_prev, inputs))[1]


def tree_squares(f, x_prev, inputs, factor):
    """`loop_squares` as a balanced tree."""
    A = factor * lin.dense(f, x_prev, inputs)[1].matrix
    one = jnp.broadcast_to(jnp.eye(factor.shape[0], dtype=factor.dtype), A.shape)

    def after(first, second):
        (A1, P1), (A2, P2) = first, second
        return A2 @ A1, A2 @ P1 @ jnp.swapaxes(A2, -1, -2) + P2

    P = jax.lax.associative_scan(after, (A, one))[1]
    return jnp.diagonal(P, axis1=-2, axis2=-1)


def verdict(result: Predictability) -> str:
    """`Predictability.verdict`: a sentence or two for whoever chooses a sampler and a solver."""
    if isinstance(result.exponent, jax.core.Tracer):
        raise TypeError("A verdict is words, which jit cannot return; ask for it outside.")
    exponents = np.atleast_1d(result.exponent)
    worst = int(np.argmax(exponents))  # NaN counts as largest
    value, error, factor, iterations, steps = (
        np.atleast_1d(x)[worst]
        for x in (
            result.exponent,
            result.standard_error,
            result.contraction,
            result.expected_iterations,
            result.num_steps,
        )
    )
    chain = f" {worst} of {exponents.size}" if exponents.size > 1 else ""
    if np.isnan(value):
        return (
            f"How the chain{chain} treats perturbations is unknown: a step of it, or of one beside "
            "it, is not finite. Look at `info.status`, or diagnose fewer steps."
        )
    figures = f"(exponent {value:.3f} +- {error:.3f})"
    if value + 2 * error < 0:
        forgets = f"The chain{chain} forgets perturbations by a factor {factor:.3g} per step"
        if iterations <= steps / 4:
            return (
                f"{forgets} {figures}: a parallel solve pays, with about {iterations:.0f} Jacobi "
                f"iterations for {steps} steps."
            )
        return (
            f"{forgets} {figures}, but slowly for its {steps} steps: Jacobi would need about "
            f"{iterations:.0f} iterations. Try `pm.deer()`, a larger `step_size` or a longer chain."
        )
    if value - 2 * error > 0:
        return (
            f"The chain{chain} lets perturbations grow by a factor {factor:.3g} per step "
            f"{figures}: no parallel method helps. Reparameterise or reduce `step_size`, or run "
            "`pm.sequential()`."
        )
    if abs(value) + 2 * error < 1e-6:
        return (
            f"The chain{chain} passes perturbations on as they are {figures}, as random-walk "
            "Metropolis does: it forgets by its accept decisions alone, which derivatives do not "
            "see. Try `pm.picard()`, and go by its iterations."
        )
    return (
        f"The chain{chain} is undecided: its exponent is zero within the error {figures}. "
        "Diagnose more steps, or change `step_size`."
    )
