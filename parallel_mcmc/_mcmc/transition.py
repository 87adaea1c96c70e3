"""A Markov kernel with its randomness drawn beforehand, as a recursion on vectors.

Kernels keep more in their state than the chain needs: log densities and
gradients, which are functions of the position. A solve finds the least Markov
state, one vector x, and the caches are rebuilt from x:

    x_t = ravel(step(unravel(x_{t-1}), u_t))

Iterations carry x alone: see `runs` for what gives states and infos.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._core.ability import Recursion
from parallel_mcmc._core.pilot import Pilot, pilot
from parallel_mcmc._core.profiles import Profile, profile
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.report import most_ties
from parallel_mcmc._core.solver import Solver


class Transition(NamedTuple):
    """A kernel as five functions, for positions of one structure.

    States are NamedTuples with a ``position``.

    Attributes:
        init: ``(position, rng_key) -> state``.
        draw_inputs: ``(rng_keys, state) -> inputs``, time leading, of as many steps as there are
            keys: see `keys_of_steps`. ``state`` is that before the first of them.
        step: ``(state, inputs of one step) -> (state, info)``, pure.
        ravel: ``state -> x``, the least Markov state as a vector ``(D,)``.
        unravel: ``x -> state``, the caches computed anew.
        name: to be printed.
    """

    init: Callable[[Any, Any], Any]
    draw_inputs: Callable[[Any, Any], Any]
    step: Callable[[Any, Any], tuple[Any, Any]]
    ravel: Callable[[Any], Float[Array, " D"]]
    unravel: Callable[[Float[Array, " D"]], Any]
    name: str = "own"

    def __repr__(self) -> str:
        return f"<{self.name} transition>"


def recursion(transition: Transition) -> Recursion:
    """The transition as x_t = f(x_{t-1}, u_t) on vectors."""

    def f(x, u):
        return transition.ravel(transition.step(transition.unravel(x), u)[0]).astype(x.dtype)

    return f


def keys_of_steps(rng_key: Any, num_steps: int, begin: Any = None) -> Any:
    """A key for each step, as BlackJAX splits them, or of the steps from ``begin`` on.

    Either way the key of step i is ``fold_in(rng_key, i)``, so a chain can be cut anywhere.

    >>> import jax
    >>> keys = keys_of_steps(jax.random.key(0), 5)
    >>> bool((keys_of_steps(jax.random.key(0), 2, begin=3) == keys[3:]).all())
    True
    """
    if begin is None:
        return jax.random.split(rng_key, num_steps)
    steps = begin + jnp.arange(num_steps)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng_key, steps)


def profile_of(transition: Transition, state: Any) -> Profile:
    """What a step asks of JAX and of a device."""

    def first(state, rng_key):
        return transition.ravel(state), transition.draw_inputs(rng_key[None], state)

    x, inputs = jax.eval_shape(first, state, jax.random.key(0))
    return profile(recursion(transition), x, inputs)


def attempted(
    transition: Transition, solver: Solver, num_steps: int, rng_key: Any, state: Any
) -> Pilot:
    """How ``num_steps`` steps from ``state`` go: what `auto` chooses by."""
    inputs = transition.draw_inputs(keys_of_steps(rng_key, num_steps), state)
    x0, f = transition.ravel(state), recursion(transition)
    return pilot(f, x0, inputs, solver, most_ties=most_ties(num_steps))


attempt_once = compiled(num_static=3)(attempted)
"""`attempted` as one program."""
