"""Refuse PRNG keys whose numbers depend on how many are drawn at once."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from parallel_mcmc._core.time_blocks import inside


def check_keys(f: Callable, *args: Any) -> None:
    """Refuse a function that draws different numbers under `jax.vmap` than without.

    A solve evaluates all steps at once, and must draw the same numbers as steps run one by one.
    This inspects the program of f, so it also finds keys that f closes over or makes.

    Args:
        f: a function of one step, which is traced.
        args: its arguments, or their shapes.

    Raises:
        ValueError: if f draws with keys of kind `rbg` or `unsafe_rbg`, whose batches are drawn
            by the device's generator.

    >>> import jax
    >>> check_keys(jax.random.normal, jax.random.key(0, impl="threefry2x32"))
    """
    for impl in kinds_drawn(jax.make_jaxpr(f)(*args).jaxpr):
        if "rbg" in impl:
            raise ValueError(
                f"Keys of kind {impl} draw other numbers for many steps at once than one by one; "
                'use jax.random.key(seed, impl="threefry2x32"), or solver=pm.sequential().'
            )


def is_rbg(rng_key: Any) -> bool:
    """Whether what a key draws depends on how much is drawn at once."""
    if not jax.dtypes.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        rng_key = jax.random.wrap_key_data(rng_key)
    return "rbg" in str(jax.random.key_impl(rng_key))


def kinds_drawn(jaxpr: Any) -> Iterator[str]:
    """The kinds of keys with which a program, or a program that it calls, draws numbers."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "rng_bit_generator":
            yield "rbg"
        if equation.primitive.name == "random_bits":
            tag = str(equation.invars[0].aval.dtype).removeprefix("key<").removesuffix(">")
            yield {"urbg": "unsafe_rbg"}.get(tag, tag)
    for program in inside(jaxpr):
        yield from kinds_drawn(getattr(program, "jaxpr", program))
