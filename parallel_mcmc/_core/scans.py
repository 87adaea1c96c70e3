"""The linear recurrence x_t = A_t x_{t-1} + b_t, for all t at once.

One step is the affine map ``x -> A x + b``; two in a row are a map of the same kind,

    (A2, b2) after (A1, b1)  =  (A2 A1,  A2 b1 + b2),

and this operation is associative. So a prefix scan evaluates the whole
recurrence in O(log T) depth (Blelloch 1990; used for trajectories in
arXiv:2309.12252). With ``A = 0`` the recurrence is ``b`` itself and with
``A = 1`` a cumulative sum.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.linear_maps import Diagonal, Identity, LinearMap, Zero
from parallel_mcmc._core.rows import before

BRANCHES = 8
"""Branches of a node in the tree of diagonal maps. With more branches the tree is less deep: it
compiles faster, has fewer kernels and moves fewer bytes. Matrix products are kernels of their own
on a GPU, and more branches only make more of them."""


def affine_scan(A: LinearMap, b: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """Solve x_t = A_t x_{t-1} + b_t for t = 1..T with x_0 = 0.

    Args:
        A: linear maps stacked over time.
        b: offsets, shape ``(T, D)``. For x_0 != 0 add ``A_1 x_0`` to the first.

    Returns:
        ``x_1..x_T``, shape ``(T, D)``.

    On a CPU this is a loop, which is several times faster there than a tree, and
    compiles in a fraction of the time. Elsewhere it is a tree. The choice is
    made when the program is lowered for its device, so that one traced function
    works for both.

    >>> import jax.numpy as jnp
    >>> from parallel_mcmc._core.linear_maps import Diagonal
    >>> A, b = Diagonal(jnp.full((3, 1), 0.5)), jnp.ones((3, 1))
    >>> affine_scan(A, b)[:, 0].tolist()
    [1.0, 1.5, 1.75]
    """
    if isinstance(A, Zero):
        return b
    if isinstance(A, Identity):
        return jnp.cumsum(b, axis=0)
    return jax.lax.platform_dependent(A, b, cpu=loop_scan, default=tree_scan)


def loop_scan(A: LinearMap, b: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """`affine_scan` step by step."""

    def step(x, affine):
        A_t, b_t = affine
        x = A_t.apply(x) + b_t
        return x, x

    return jax.lax.scan(step, jnp.zeros_like(b[0]), (A, b))[1]


def tree_scan(A: LinearMap, b: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """`affine_scan` as a balanced tree, with two branches per node, or eight for diagonal maps."""
    if isinstance(A, Diagonal) and len(b) > BRANCHES:
        return branching_scan(A.diagonal, b)

    def after(first, second):
        (A1, b1), (A2, b2) = first, second
        return A2.compose(A1), A2.apply(b1) + b2

    # Only the offsets are used, so that XLA drops the last products of A.
    return jax.lax.associative_scan(after, (A, b))[1]


def branching_scan(a: Float[Array, "T D"], b: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """`tree_scan` of diagonal maps: groups of steps, then a scan of the maps of whole groups."""
    T, D = b.shape
    padded = (jnp.pad(leaf, ((0, -T % BRANCHES), (0, 0))) for leaf in (a, b))
    a, b = (leaf.reshape(-1, BRANCHES, D) for leaf in padded)
    of_group, end = a[:, 0], b[:, 0]
    for j in range(1, BRANCHES):
        of_group, end = a[:, j] * of_group, a[:, j] * end + b[:, j]
    x, rows = before(tree_scan(Diagonal(of_group), end)), []
    for j in range(BRANCHES):
        x = a[:, j] * x + b[:, j]
        rows.append(x)
    return jnp.stack(rows, axis=1).reshape(-1, D)[:T]
