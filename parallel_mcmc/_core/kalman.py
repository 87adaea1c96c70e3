"""The penalised linear recurrence: a Kalman smoother over the corrections d_1..d_T.

The recurrence d_t = A_t d_{t-1} + r_t is the zero of a sum of squares. Where the maps
expand, that zero is astronomically far away, and a penalty on the size of d keeps
it close (Levenberg-Marquardt; ELK, arXiv:2407.19115):

    minimise  sum_t |d_t - A_t d_{t-1} - r_t|^2 + penalty |d_t|^2,     d_0 = 0.

The minimiser is the most probable path of a linear Gaussian state space model with unit
noise, d_t ~ N(A_t d_{t-1} + r_t, I), with observations of d_t that are all zero and have
variance 1 / penalty. A filter runs forward,

    P_t^- = A_t P_{t-1} A_t' + I,               m_t^- = A_t m_{t-1} + r_t,
    P_t   = (I + penalty P_t^-)^-1 P_t^-,       m_t   = (I + penalty P_t^-)^-1 m_t^-,

and a smoother backward (Rauch, Tung and Striebel 1965), itself an affine recurrence:

    d_t = m_t + G_t (d_{t+1} - m_{t+1}^-),      G_t = P_t A_{t+1}' (P_{t+1}^-)^-1.

The filter is a prefix scan as well. Its elements (A, b, C, eta, J) represent
the distribution of d_t given d_s, and what the observations in between say about d_s
(Särkkä and García-Fernández 2021, arXiv:1905.13002, Lemma 8).

Costs per step: D^3 for dense maps (a solve and three products; the tree does several times
that), D for diagonal ones, for which all of the above is elementwise.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.linear_maps import Dense, Diagonal
from parallel_mcmc._core.scans import affine_scan

Map = TypeVar("Map", Dense, Diagonal)


def kalman_scan(A: Map, r: Float[Array, "T D"], penalty: float) -> Float[Array, "T D"]:
    """Minimise sum_t |d_t - A_t d_{t-1} - r_t|^2 + penalty |d_t|^2 with d_0 = 0.

    Args:
        A: `Dense` or `Diagonal` maps stacked over time.
        r: residuals, shape ``(T, D)``.
        penalty: at least 0; 0 gives `affine_scan`. Every |d_t| is at most
            |r| / (2 sqrt(penalty)), where r is the vector of all residuals.

    Returns:
        ``d_1..d_T``, shape ``(T, D)``.

    A loop on a CPU and a tree elsewhere, as for `affine_scan`.

    >>> import jax.numpy as jnp
    >>> from parallel_mcmc._core.linear_maps import Diagonal
    >>> A, r = Diagonal(jnp.full((4, 1), 10.0)), jnp.ones((4, 1))
    >>> kalman_scan(A, r, 0.0)[:, 0].tolist()
    [1.0, 11.0, 111.0, 1111.0]
    >>> bool(jnp.all(jnp.abs(kalman_scan(A, r, 0.1)) < 2))
    True
    """
    if not isinstance(A, Dense | Diagonal):
        raise TypeError(
            f"The penalised solve is for Dense and Diagonal maps, got {type(A).__name__}; "
            "use pm.hutchinson() or pm.exact_diagonal() as the linearisation."
        )
    weight = jnp.asarray(penalty, r.dtype)
    filtered = jax.lax.platform_dependent(A, r, weight, cpu=loop_filter, default=tree_filter)
    return smooth(A, r, *filtered)


def smooth(
    A: Map, r: Float[Array, "T D"], mean: Float[Array, "T D"], covariance: Map
) -> Float[Array, "T D"]:
    """The backward pass: d_t given all observations, from m_t and P_t."""
    later = rows(A, 1, None)
    P, m = rows(covariance, None, -1), mean[:-1]
    ahead = plus_identity(later.compose(P).compose(transpose(later)))
    gain = transpose(solve(ahead, later.compose(P)))
    offset = m - gain.apply(later.apply(m) + r[1:])

    def reverse(tree):
        return jax.tree.map(lambda leaf: leaf[::-1], tree)

    # Filter and smoother agree at the last step: its mean starts the recurrence.
    gain = jax.tree.map(lambda G, A: jnp.concatenate([G, jnp.zeros_like(A[:1])]), gain, A)
    return reverse(affine_scan(reverse(gain), reverse(jnp.concatenate([offset, mean[-1:]]))))


def loop_filter(
    A: Map, r: Float[Array, "T D"], penalty: Float[Array, ""]
) -> tuple[Float[Array, "T D"], Map]:
    """m_t and P_t step by step."""

    def step(carry, data):
        (m, P), (A_t, r_t) = carry, data
        ahead = A_t.compose(P).compose(transpose(A_t))
        ahead = plus_identity(ahead)
        damping = inverse(plus_identity(times(penalty, ahead)))
        after = damping.apply(A_t.apply(m) + r_t), symmetric(damping.compose(ahead))
        return after, after

    certain = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), A)
    return jax.lax.scan(step, (jnp.zeros_like(r[0]), certain), (A, r))[1]


class Element(NamedTuple):
    """What the steps s+1..t say: d_t ~ N(A d_s + b, C), and of d_s: exp(eta'd - d'Jd / 2)."""

    A: Dense | Diagonal
    b: Float[Array, "... D"]
    C: Dense | Diagonal
    eta: Float[Array, "... D"]
    J: Dense | Diagonal


def tree_filter(
    A: Map, r: Float[Array, "T D"], penalty: Float[Array, ""]
) -> tuple[Float[Array, "T D"], Map]:
    """`loop_filter` as a balanced tree."""
    keep = 1 / (1 + penalty)
    back = transpose(A)
    none = jax.tree.map(jnp.zeros_like, A)
    steps = Element(
        A=times(keep, A),
        b=keep * r,
        C=times(keep, plus_identity(none)),
        eta=-penalty * keep * back.apply(r),
        J=times(penalty * keep, back.compose(A)),
    )

    def after(first, second):
        M = inverse(plus_identity(first.C.compose(second.J)))
        forward, backward = second.A.compose(M), transpose(first.A).compose(transpose(M))
        return Element(
            A=forward.compose(first.A),
            b=forward.apply(first.b + first.C.apply(second.eta)) + second.b,
            C=symmetric(plus(forward.compose(first.C).compose(transpose(second.A)), second.C)),
            eta=backward.apply(second.eta - second.J.apply(first.b)) + first.eta,
            J=symmetric(plus(backward.compose(second.J).compose(first.A), first.J)),
        )

    # As d_0 = 0, b is the mean; XLA drops what is not used.
    total = jax.lax.associative_scan(after, steps)
    return total.b, total.C


def rows(A: Map, begin: int | None, end: int | None) -> Map:
    return jax.tree.map(lambda leaf: leaf[begin:end], A)


def transpose(A: Map) -> Map:
    return Dense(jnp.swapaxes(A.matrix, -1, -2)) if isinstance(A, Dense) else A


def symmetric(A: Map) -> Map:
    """A without asymmetry from rounding, which a long recurrence would amplify."""
    return times(0.5, plus(A, transpose(A)))


def plus(A: Map, B: Map) -> Map:
    return jax.tree.map(jnp.add, A, B)


def plus_identity(A: Map) -> Map:
    if isinstance(A, Dense):
        return Dense(A.matrix + jnp.eye(A.matrix.shape[-1], dtype=A.matrix.dtype))
    return Diagonal(1 + A.diagonal)


def times(factor, A: Map) -> Map:
    return jax.tree.map(lambda leaf: factor * leaf, A)


def solve(A: Map, B: Map) -> Map:
    """A^-1 B."""
    if isinstance(A, Dense):
        return Dense(jnp.linalg.solve(A.matrix, B.matrix))
    return Diagonal(B.diagonal / A.diagonal)


def inverse(A: Map) -> Map:
    if isinstance(A, Dense):
        return Dense(jnp.linalg.inv(A.matrix))
    return Diagonal(1 / A.diagonal)
