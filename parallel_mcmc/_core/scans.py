"""The linear recurrence x_t = A_t x_{t-1} + b_t, for all t at once.

One step is the affine map ``x -> A x + b``; two in a row are a map of the same kind,

    (A2, b2) after (A1, b1)  =  (A2 A1,  A2 b1 + b2),

and this operation is associative. So a prefix scan evaluates the whole
recurrence in O(log T) depth (Blelloch 1990; used for trajectories in
arXiv:2309.12252). With ``A = 0`` the recurrence is ``b`` itself and with
``A = 1`` a cumulative sum.

Where time lies over several devices, each composes the maps of its piece into one. These are
gathered, D^2 + D numbers from a device for dense maps and 2 D for diagonal ones. So each device
knows the x before its piece, and scans its piece from there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core import across
from parallel_mcmc._core.linear_maps import Diagonal, Identity, LinearMap, Zero
from parallel_mcmc._core.rows import before_here

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
    if across.devices() is not None:
        return scan_in_pieces(A, b)
    return scan_here(A, b)


def scan_here(A: LinearMap, b: Float[Array, "T D"]) -> Float[Array, "T D"]:
    """`affine_scan` of the rows of one device."""
    if isinstance(A, Identity):
        return jnp.cumsum(b, axis=0)
    return jax.lax.platform_dependent(A, b, cpu=loop_scan, default=tree_scan)


def scan_in_pieces(A: LinearMap, b: Float[Array, "L D"]) -> Float[Array, "L D"]:
    """`affine_scan` where each device has L of the T rows."""
    x_start = state_before_piece(*across.gathered(whole_map(A, b)))
    first = jax.tree.map(lambda leaf: leaf[0], A)
    return scan_here(A, b.at[0].add(first.apply(x_start)))


def whole_map(A: LinearMap, b: Float[Array, "L D"]) -> tuple[LinearMap, Float[Array, " D"]]:
    """All maps of a piece as one, x -> A_L .. A_1 x + b: twice the products of a scan."""
    if isinstance(A, Identity):
        return A, jnp.sum(b, axis=0)
    return jax.lax.platform_dependent(A, b, cpu=loop_whole_map, default=tree_whole_map)


def loop_whole_map(A: LinearMap, b: Float[Array, "L D"]):
    def step(carry, affine):
        return after(carry, affine), None

    first, others = (jax.tree.map(lambda leaf, i=i: leaf[i], (A, b)) for i in (0, slice(1, None)))
    return jax.lax.scan(step, first, others)[0]


def tree_whole_map(A: LinearMap, b: Float[Array, "L D"]):
    maps = A, b
    while (L := len(maps[1])) > 1:
        first, second, rest = (
            jax.tree.map(lambda leaf, rows=rows: leaf[rows], maps)
            for rows in (slice(0, L - 1, 2), slice(1, L, 2), slice(L - L % 2, L))
        )
        pairs = after(first, second)
        maps = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), pairs, rest)
    return jax.tree.map(lambda leaf: leaf[0], maps)


def state_before_piece(A: LinearMap, b: Float[Array, "P D"]) -> Float[Array, " D"]:
    """The state before the piece of this device, from the maps of all P pieces.

    Products over thousands of steps may overflow where a loop over the steps would not: the
    factors are large and x is zero, or small. Zero is taken instead of what is not finite, and
    the correction begins anew with that piece. This is as in Jacobi's method, for one row.
    """

    def piece(x, affine):
        A_p, b_p = affine
        return or_zero(or_zero(A_p.apply(x)) + b_p), x

    x_starts = jax.lax.scan(piece, jnp.zeros_like(b[0]), (A, b))[1]
    return x_starts[across.rank()]


def or_zero(x: Float[Array, " D"]) -> Float[Array, " D"]:
    return jnp.where(jnp.all(jnp.isfinite(x)), x, 0)


def after(first, second):
    """The affine map of two in a row."""
    (A1, b1), (A2, b2) = first, second
    return A2.compose(A1), A2.apply(b1) + b2


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
    x, rows = before_here(tree_scan(Diagonal(of_group), end)), []
    for j in range(BRANCHES):
        x = a[:, j] * x + b[:, j]
        rows.append(x)
    return jnp.stack(rows, axis=1).reshape(-1, D)[:T]
