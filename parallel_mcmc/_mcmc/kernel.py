"""A kernel, and what kernels share: checks, and the accept decision.

A kernel is what is known of a Markov chain before it is known where it starts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from parallel_mcmc._core.programs import forget_oldest
from parallel_mcmc._core.rows import either
from parallel_mcmc._mcmc.transition import Transition


class Kernel:
    """A kernel for positions of any structure, such as `hmc` returns.

    `sample` takes it together with a position. ``at(position)`` is its `Transition` for positions
    like that one, the same object each time, so that what was compiled for it is found again.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.random_walk(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> kernel, kernel.at(jnp.zeros(2))
    (<random_walk kernel>, <random_walk transition>)
    >>> kernel.at(jnp.zeros(2)) is kernel.at(jnp.ones(2))
    True
    """

    def __init__(self, make: Callable[[Any], Transition], name: str):
        self._make, self._name = make, name
        self._made: dict[Any, Transition] = {}

    def __repr__(self) -> str:
        return f"<{self._name} kernel>"

    def at(self, position: Any) -> Transition:
        """The transition for positions of this structure and these shapes."""
        leaves, structure = jax.tree.flatten(position)
        kinds = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        key = structure, kinds, jax.config.read("jax_enable_x64")
        transition = self._made.pop(key, None) or self._make(position)
        self._made[key] = transition  # goes last
        forget_oldest(self._made)
        return transition

    def __getattr__(self, name: str) -> Any:
        if name not in Transition._fields:
            raise AttributeError(name)
        raise AttributeError(
            f"{self!r} has no `{name}` before it knows its position: take `kernel.at(position)`."
        )


def transition_at(kernel: Any, position: Any) -> Transition:
    """Of a kernel or a BlackJAX algorithm, for positions like this one."""
    if isinstance(kernel, Transition):
        return kernel
    if isinstance(kernel, Kernel):
        return kernel.at(position)
    if hasattr(kernel, "init") and hasattr(kernel, "step"):
        from parallel_mcmc._blackjax.transition import transition_of

        return transition_of(kernel, position)
    raise TypeError(
        "Expected a kernel such as pm.hmc(...) or a BlackJAX algorithm with `init` and `step`, "
        f"got {type(kernel).__name__}."
    )


def one_by_one(draw_input: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """``draw_inputs`` of a `Transition`, from ``(rng_key, state) -> inputs`` of one step."""
    return lambda rng_keys, state: jax.vmap(lambda rng_key: draw_input(rng_key, state))(rng_keys)


def log_uniform(rng_key: Any, dtype: Any, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Log u of u uniform on (0, 1]: minus a standard exponential."""
    return -jax.random.exponential(rng_key, shape, dtype)


def accept_or_reject(
    log_ratio: Float[Array, ""], log_uniform: Float[Array, ""], proposal: Any, current: Any
) -> tuple[Any, Float[Array, ""], Bool[Array, ""]]:
    """The proposal where log u < log ratio, else the current state; NaN means rejection.

    A choice, not a blend ``g y + (1 - g) x``, which is NaN for g = 0 and an infinite y. The
    derivative is that of the branch taken.

    Returns:
        The next state, the acceptance probability and whether the proposal was accepted.
    """
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    is_accepted = log_uniform < log_ratio
    state = either(is_accepted, proposal, current)
    return state, jnp.exp(jnp.minimum(log_ratio, 0.0)), is_accepted


def check_step_size(step_size: Any) -> None:
    """A positive number, as far as it is known."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(step_size)]
    if shapes != [()]:
        raise ValueError(
            f"step_size must be one number, got shapes {shapes}; a position is given to pm.sample "
            "alone."
        )
    check_positive("step_size", step_size)


def check_positive(name: str, value: Any) -> None:
    if not jax.tree_util.all_leaves([value]):
        raise ValueError(
            f"{name} must be a number or an array, got a {type(value).__name__}; a position is "
            "given to pm.sample alone."
        )
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} must be positive, got {value}.")
