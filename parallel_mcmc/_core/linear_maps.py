"""Linear maps of one step, stacked over time: what a solver uses as the Jacobian.

Every map has the same operations, which are all that a scan and its limits need:

- ``A.apply(x)``: the product with a vector,
- ``A.compose(B)``: the map ``x -> A (B x)``, of the same kind as its factors,
- ``A.in_units(scale)``: the map in coordinates measured in units of ``scale``,
- ``A.scale_rows(factor)``: the map with each row times a factor, ``(..., D)`` or ``(..., 1)``,
- ``A.limit(max_norm, scale)``: the factors, at most 1, that keep products of many maps
  bounded, and which maps they change. Norms are in coordinates measured in units of
  ``scale``, as a posterior may have scales of all sizes.

Leading axes (time, chains) are arbitrary; the last ones hold the map of one step. `limit` needs
time as the first. The identity and zero have no rows to scale, and stay unchanged.

| map        | leaves                        | apply | compose | meaning                         |
|------------|-------------------------------|-------|---------|---------------------------------|
| Dense      | ``(..., D, D)``               | D^2   | D^3     | the full Jacobian (Newton)      |
| Diagonal   | ``(..., D)``                  | D     | D       | its diagonal (quasi-Newton)     |
| Block2x2   | four of ``(..., D/2)``        | 2D    | 4D      | blocks for (position, momentum) |
| Identity   | none                          | 0     | 0       | Picard                          |
| Zero       | none                          | 0     | 0       | Jacobi                          |
"""

import functools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from parallel_mcmc._core.time_blocks import map_steps


class Limit(NamedTuple):
    """How the norms of maps are limited.

    Attributes:
        factor: for each row, at most 1, ``(..., D)`` or ``(..., 1)``.
        limited: which maps it changes.
    """

    factor: Float[Array, "... D"] | float
    limited: Bool[Array, "..."]


def at_most(max_norm, norm: Float[Array, "... D"]) -> Limit:
    """The factors that bring norms down to ``max_norm``."""
    too_long = norm > max_norm
    return Limit(jnp.where(too_long, max_norm / norm, 1), jnp.any(too_long, axis=-1))


WRITTEN_OUT = 4
"""Rows up to which products of matrices are written out as sums. On a GPU many levels of a scan are
then one kernel, which is not so for matrix products."""


class Dense(NamedTuple):
    """A full matrix per step."""

    matrix: Float[Array, "... D D"]

    def apply(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        if x.shape[-1] <= WRITTEN_OUT:
            terms = (self.matrix[..., k] * x[..., k, None] for k in range(x.shape[-1]))
            return functools.reduce(jnp.add, terms)
        return jnp.einsum("...ij,...j->...i", self.matrix, x)

    def compose(self, other: "Dense") -> "Dense":
        A, B = self.matrix, other.matrix
        if A.shape[-1] <= WRITTEN_OUT:
            terms = (A[..., :, k, None] * B[..., None, k, :] for k in range(A.shape[-1]))
            return Dense(functools.reduce(jnp.add, terms))
        return Dense(jnp.einsum("...ij,...jk->...ik", A, B))

    def in_units(self, scale: Float[Array, " D"]) -> "Dense":
        return Dense(self.matrix * (scale / scale[:, None]))

    def scale_rows(self, factor: Float[Array, "... D"]) -> "Dense":
        return Dense(factor[..., None] * self.matrix)

    def limit(self, max_norm, scale: Float[Array, " D"]) -> Limit:
        """The spectral norm of each matrix is at most ``max_norm``."""
        norm = map_steps(spectral_norm, self.in_units(scale).matrix)
        return at_most(max_norm, norm[..., None])


class Diagonal(NamedTuple):
    """A diagonal matrix per step."""

    diagonal: Float[Array, "... D"]

    def apply(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return self.diagonal * x

    def compose(self, other: "Diagonal") -> "Diagonal":
        return Diagonal(self.diagonal * other.diagonal)

    def in_units(self, scale: Float[Array, " D"]) -> "Diagonal":
        return self

    def scale_rows(self, factor: Float[Array, "... D"]) -> "Diagonal":
        return Diagonal(factor * self.diagonal)

    def limit(self, max_norm, scale=None) -> Limit:
        """Each entry is at most ``max_norm`` in size."""
        return at_most(max_norm, jnp.abs(self.diagonal))


class Block2x2(NamedTuple):
    """``[[a, b], [c, d]]`` with diagonal blocks: it couples coordinate i only with D/2 + i."""

    a: Float[Array, "... H"]
    b: Float[Array, "... H"]
    c: Float[Array, "... H"]
    d: Float[Array, "... H"]

    def apply(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        q, p = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([self.a * q + self.b * p, self.c * q + self.d * p], axis=-1)

    def compose(self, other: "Block2x2") -> "Block2x2":
        return Block2x2(
            a=self.a * other.a + self.b * other.c,
            b=self.a * other.b + self.b * other.d,
            c=self.c * other.a + self.d * other.c,
            d=self.c * other.b + self.d * other.d,
        )

    def in_units(self, scale: Float[Array, " D"]) -> "Block2x2":
        scale_q, scale_p = jnp.split(scale, 2)
        return Block2x2(self.a, self.b * (scale_p / scale_q), self.c * (scale_q / scale_p), self.d)

    def scale_rows(self, factor: Float[Array, "... D"]) -> "Block2x2":
        factor = jnp.broadcast_to(factor, (*factor.shape[:-1], 2 * self.a.shape[-1]))
        of_q, of_p = jnp.split(factor, 2, axis=-1)
        return Block2x2(of_q * self.a, of_q * self.b, of_p * self.c, of_p * self.d)

    def limit(self, max_norm, scale: Float[Array, " D"]) -> Limit:
        """The spectral norm of each 2x2 block is at most ``max_norm``."""
        norm = norm_2x2(*self.in_units(scale))
        return at_most(max_norm, jnp.concatenate([norm, norm], axis=-1))


class Identity(NamedTuple):
    """The identity, which needs no storage."""

    def apply(self, x):
        return x

    def compose(self, other):
        return self

    def in_units(self, scale=None):
        return self

    def scale_rows(self, factor=None):
        return self

    def limit(self, max_norm, scale=None) -> Limit:
        return Limit(1.0, jnp.zeros((), bool))


class Zero(NamedTuple):
    """The zero map, which needs no storage."""

    def apply(self, x):
        return jnp.zeros_like(x)

    def compose(self, other):
        return self

    def in_units(self, scale=None):
        return self

    def scale_rows(self, factor=None):
        return self

    def limit(self, max_norm, scale=None) -> Limit:
        return Limit(1.0, jnp.zeros((), bool))


LinearMap: TypeAlias = Dense | Diagonal | Block2x2 | Identity | Zero


def norm_2x2(a: Array, b: Array, c: Array, d: Array) -> Array:
    """The larger singular value of [[a, b], [c, d]], without squares that overflow."""
    return 0.5 * (jnp.hypot(a + d, b - c) + jnp.hypot(a - d, b + c))


def spectral_norm(matrix: Float[Array, "... D D"], num_iterations: int = 8) -> Float[Array, "..."]:
    """The largest singular value: in closed form up to two rows, else by power iteration, no SVD.

    Power iteration takes ``2 * num_iterations`` products, and approaches the norm from below, so it
    never mistakes a map of norm 1 for one that expands. It is within a few per cent after eight
    iterations, unless the two leading singular values are that close, and then either will do. It
    starts from the longest row, whose length is at least ``1 / sqrt(D)`` of the norm. A vector
    without structure is added, as the row alone can be orthogonal to the leading direction.
    """
    D = matrix.shape[-1]
    if D == 1:
        return jnp.abs(matrix[..., 0, 0])
    if D == 2:
        return norm_2x2(*(matrix[..., i, j] for i in range(2) for j in range(2)))
    largest = jnp.max(jnp.abs(matrix), axis=(-2, -1))
    matrix = matrix / jnp.where(largest > 0, largest, 1)[..., None, None]  # squares stay finite
    longest = jnp.argmax(jnp.sum(matrix**2, axis=-1), axis=-1)
    row = jnp.take_along_axis(matrix, longest[..., None, None], axis=-2)[..., 0, :]
    mixed = jnp.sin(1 + jnp.arange(D, dtype=matrix.dtype) ** 2) / D**0.5
    v = row + mixed * jnp.linalg.norm(row, axis=-1, keepdims=True)
    tiny = jnp.finfo(matrix.dtype).tiny

    def product(v):
        v = v / (jnp.linalg.norm(v, axis=-1, keepdims=True) + tiny)
        return jnp.einsum("...ij,...j->...i", matrix, v)

    def iteration(_, v):
        return jnp.einsum("...ji,...j->...i", matrix, product(v))

    v = jax.lax.fori_loop(0, num_iterations, iteration, v, unroll=True)
    return largest * jnp.linalg.norm(product(v), axis=-1)
