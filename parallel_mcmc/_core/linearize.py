"""Linearisations: evaluate the recursion and an approximate Jacobian, at all t at once.

A linearisation is a function

    linearize(f, x_prev, inputs, rng_key) -> (f_values, A)

with ``f_values[t] = f(x_prev[t], inputs[t])`` and ``A[t]`` a linear map that
approximates the derivative of f there. Value and derivative come from one
forward pass. All derivatives are forward mode, so f may contain loops of
unknown length (NUTS, slice sampling). They are derivatives of the branch taken:
accept decisions are held fixed (arXiv:2508.18413). `ability` says what JAX can do with f.

| function              | products with the Jacobian, per step | memory, per step |
|-----------------------|--------------------------------------|------------------|
| `dense`               | D                                    | D^2              |
| `exact_diagonal()`    | D                                    | D                |
| `hutchinson(k)`       | k                                    | D                |
| `exact_blocks()`      | D                                    | D                |
| `hutchinson_blocks(k)`| 2k                                   | D                |
| `identity`, `zero`    | none                                 | none             |
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.ability import Recursion, at_all_steps
from parallel_mcmc._core.linear_maps import Block2x2, Dense, Diagonal, Identity, LinearMap, Zero
from parallel_mcmc._core.options import Partial

Linearize: TypeAlias = Callable[..., tuple[Float[Array, "T D"], LinearMap]]


def dense(f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any = None):
    """The full Jacobian: Newton's method (DEER, arXiv:2309.12252)."""

    def at(x, u):
        def product(v):
            return jax.jvp(lambda x: f(x, u), (x,), (v,))

        basis = jnp.eye(x.size, dtype=x.dtype)
        return jax.vmap(product, out_axes=(None, -1))(basis)

    f_values, jacobian = at_all_steps(f, at, x_prev, inputs)
    return f_values, Dense(jacobian)


def exact_diagonal() -> Linearize:
    """The diagonal of the Jacobian, one coordinate at a time (quasi-DEER, arXiv:2407.19115).

    >>> import parallel_mcmc as pm
    >>> solver = pm.quasi_deer(pm.exact_diagonal())
    """
    return Partial.of(diagonal, "exact_diagonal")


def diagonal(f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any = None):
    def at(x, u):
        def entry(i):
            unit = jnp.zeros_like(x).at[i].set(1)
            value, column = jax.jvp(lambda x: f(x, u), (x,), (unit,))
            return value, column[i]

        return jax.vmap(entry, out_axes=(None, 0))(jnp.arange(x.size))

    f_values, entries = at_all_steps(f, at, x_prev, inputs)
    return f_values, Diagonal(entries)


def hutchinson(num_probes: int = 1) -> Linearize:
    """The diagonal of the Jacobian J, estimated as the mean of z * (J z) with z = +-1.

    Stochastic quasi-DEER (arXiv:2508.18413; the estimator is from
    Bekas, Kokiopoulou and Saad 2007). Unbiased, and exact with one probe where J is
    diagonal. The probes come from the ``rng_key`` of the solve and are the same in
    all of its iterations.

    Args:
        num_probes: products with the Jacobian per step, at least 1.

    >>> import parallel_mcmc as pm
    >>> solver = pm.quasi_deer(pm.hutchinson(num_probes=2))
    """
    check_num_probes(num_probes)

    return Partial.of(probed_diagonal, "hutchinson", num_probes=num_probes)


def probed_diagonal(
    f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any, num_probes: int
):
    T, D = x_prev.shape
    probes = probes_from(rng_key, (T, num_probes, D), x_prev.dtype)

    def at(x, u, probes):
        def product(z):
            value, Jz = jax.jvp(lambda x: f(x, u), (x,), (z,))
            return value, z * Jz

        value, estimates = jax.vmap(product, out_axes=(None, 0))(probes)
        return value, estimates.mean(axis=0)

    f_values, estimates = at_all_steps(f, at, x_prev, inputs, probes)
    return f_values, Diagonal(estimates)


def exact_blocks() -> Linearize:
    """The diagonals of the four blocks of the Jacobian on x = (q, p) (arXiv:2508.18413).

    >>> import parallel_mcmc as pm
    >>> solver = pm.block_quasi_deer(pm.exact_blocks())
    """
    return Partial.of(blocks, "exact_blocks")


def blocks(f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any = None):
    basis = jnp.eye(half_of(x_prev), dtype=x_prev.dtype)

    def at(x, u):
        f_value, entries = block_estimates(f, x, u, basis)
        return f_value, Block2x2(*entries.sum(axis=0))

    return at_all_steps(f, at, x_prev, inputs)


def hutchinson_blocks(num_probes: int = 1) -> Linearize:
    """`exact_blocks`, estimated as the mean of z * (J (z, 0)) and of z * (J (0, z)) with z = +-1.

    Stochastic block quasi-DEER (arXiv:2508.18413). Exact with one probe where the blocks are
    diagonal. Probes as in `hutchinson`.

    Args:
        num_probes: at least 1; each costs two products with the Jacobian per step, which
            for leapfrog steps are Hessian-vector products.

    >>> import parallel_mcmc as pm
    >>> solver = pm.block_quasi_deer(pm.hutchinson_blocks(num_probes=2))
    """
    check_num_probes(num_probes)

    return Partial.of(probed_blocks, "hutchinson_blocks", num_probes=num_probes)


def probed_blocks(
    f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any, num_probes: int
):
    shape = x_prev.shape[0], num_probes, half_of(x_prev)
    probes = probes_from(rng_key, shape, x_prev.dtype)

    def at(x, u, probes):
        f_value, estimates = block_estimates(f, x, u, probes)
        return f_value, Block2x2(*estimates.mean(axis=0))

    return at_all_steps(f, at, x_prev, inputs, probes)


class Probes(NamedTuple):
    """In the place of a key: probes drawn before the solve, because a device has only its rows."""

    signs: Float[Array, "T K H"]


def probes_from(rng_key: Any, shape: tuple[int, int, int], dtype: Any) -> Float[Array, "T K H"]:
    if isinstance(rng_key, Probes):
        return rng_key.signs
    return jax.random.rademacher(rng_key, shape, dtype)


def drawn(linearize: Linearize | None, rng_key: Any, shape: tuple[int, int], dtype: Any) -> Any:
    """The `Probes` that a linearisation would draw for states ``(T, D)``; the key if it draws none.

    Memory: ``num_probes`` times that of the states.
    """
    if isinstance(linearize, Partial) and linearize.function in PROBED:
        T, D = shape
        num_probes = dict(linearize.options)["num_probes"]
        size = D // PROBED[linearize.function]
        return Probes(jax.random.rademacher(rng_key, (T, num_probes, size), dtype))
    return rng_key


PROBED = {probed_diagonal: 1, probed_blocks: 2}
"""Linearisations with random probes, and how many of their probes make a state."""


def check_num_probes(num_probes: int) -> None:
    if num_probes < 1:
        raise ValueError(
            f"num_probes must be at least 1, got {num_probes}; "
            "use pm.jacobi() for a solve without derivatives."
        )


def half_of(x: Float[Array, "T D"]) -> int:
    D = x.shape[-1]
    if D % 2:
        raise ValueError(
            "Blocks are for states of two halves, position and momentum, of one size; got "
            f"{D} numbers. Use pm.quasi_deer() for other states."
        )
    return D // 2


def block_estimates(
    f: Recursion, x: Float[Array, " D"], u: Any, probes: Float[Array, "K H"]
) -> tuple[Float[Array, " D"], Float[Array, "K 4 H"]]:
    """f, and for each probe z the products z * (J (z, 0)) and z * (J (0, z)), as a, b, c, d."""

    def product(v, z):
        f_value, Jv = jax.jvp(lambda x: f(x, u), (x,), (v,))
        return f_value, z * Jv.reshape(2, -1)

    none = jnp.zeros_like(probes)
    q_probes, p_probes = (jnp.concatenate(v, axis=-1) for v in ((probes, none), (none, probes)))
    in_turn = jax.vmap(product, out_axes=(None, 0))
    f_value, from_both = in_turn(
        jnp.concatenate([q_probes, p_probes]), jnp.concatenate([probes, probes])
    )
    a_and_c, b_and_d = jnp.split(from_both, 2)
    blocks = jnp.stack([a_and_c, b_and_d], axis=2)  # probe, row of the block, column, coordinate
    return f_value, blocks.reshape(len(probes), 4, -1)


def identity(f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any = None):
    """No derivative: A = 1 (Picard iterations)."""
    return at_all_steps(f, f, x_prev, inputs), Identity()


def zero(f: Recursion, x_prev: Float[Array, "T D"], inputs: Any, rng_key: Any = None):
    """No derivative: A = 0 (Jacobi iterations)."""
    return at_all_steps(f, f, x_prev, inputs), Zero()
