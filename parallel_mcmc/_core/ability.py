"""What JAX can do with a recursion: steps, batches of them, derivatives.

A solver that needs more than JAX can do says so, and says what to take instead.
"""

import enum
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.time_blocks import map_steps

Recursion: TypeAlias = Callable[[Float[Array, " D"], Any], Float[Array, " D"]]


class Ability(enum.IntEnum):
    """What JAX can do with a recursion; each value includes those before it."""

    STEPS = 0
    """One step after the other, as with `jax.pure_callback` without a ``vmap_method``."""

    BATCHES = 1
    """All steps at once, by `jax.vmap`."""

    DERIVATIVES = 2
    """Products with the Jacobian, by `jax.jvp`. They do not exist if the step has a gradient
    through a `jax.custom_vjp` (such as `jax.experimental.ode.odeint`), through the shape of
    ``gammainc``, or through a callback."""


def ability(f: Callable[[Any, Any], Any], x: Any, inputs: Any) -> Ability:
    """What JAX can do with f, found by tracing it, without an evaluation.

    Args:
        f: ``(x, u) -> x``.
        x: a state.
        inputs: u_1..u_T with time as leading axis; only the first is used.

    The arguments may be values or shapes. Costs up to two traces of f and its derivative.
    """

    def first(x, inputs):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x), jax.tree.map(
            lambda leaf: leaf[:1], inputs
        )

    def product(x, u):
        return jax.jvp(lambda x: f(x, u), (x,), (x,))

    row = jax.eval_shape(first, x, inputs)
    if traces(jax.vmap(product), *row):
        return Ability.DERIVATIVES
    return Ability.BATCHES if traces(jax.vmap(f), *row) else Ability.STEPS


def traces(f: Callable, *args: Any) -> bool:
    try:
        jax.eval_shape(f, *args)
    except Exception:  # JAX has a different one for every cause
        return False
    return True


def at_all_steps(
    f: Recursion, at: Callable, x_prev: Float[Array, "T D"], inputs: Any, *others: Any
) -> Any:
    """`map_steps` of ``at``, which is f or f with its derivative; the error says what is missing.

    Raises:
        TypeError: if JAX can trace f, but cannot batch f or ``at``.
    """
    try:
        return map_steps(at, x_prev, inputs, *others)
    except Exception as error:
        x, u = jax.tree.map(lambda leaf: leaf[0], (x_prev, inputs))
        able = ability(f, x, inputs)
        if able == Ability.DERIVATIVES or not traces(f, x, u):
            raise
        cause = str(error).strip().split("\n")[0].rstrip(".")
        raise TypeError(WHAT_TO_TAKE[able].format(cause)) from error


WHAT_TO_TAKE = {
    Ability.STEPS: (
        "A parallel solver takes all steps at once, which JAX cannot here ({}); give a "
        "`jax.pure_callback` a `vmap_method`, or use pm.sequential()."
    ),
    Ability.BATCHES: (
        "This solver needs the forward-mode derivative of a step, which JAX does not have here "
        "({}); use pm.jacobi() or pm.picard(), which need none, or pm.sequential()."
    ),
}
"""The error of a solver that needs more than this."""
