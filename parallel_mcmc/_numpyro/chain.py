"""A kernel with its settings as they are now, and its steps as draws."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parallel_mcmc._mcmc.trace import WITHOUT_PRIOR
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc._numpyro.state import Draws


class Chain(NamedTuple):
    """A kernel with its present settings.

    Attributes:
        transition: the kernel, on positions of its own.
        position: unconstrained values -> position.
        z: position -> unconstrained values.
        potential_fn: of unconstrained values, for kernels that do not keep a log density.
        draw_input: ``(rng_key, state) -> inputs`` of one step.
    """

    transition: Transition
    position: Callable[[Any], Any]
    z: Callable[[Any], Any]
    potential_fn: Callable[[Any], Float[Array, ""]]
    draw_input: Callable[[Any, Any], Any]


def draw_one(transition: Transition) -> Callable[[Any, Any], Any]:
    """The inputs of one step from a key of its own."""

    def draw_input(rng_key, state):
        return jax.tree.map(lambda leaf: leaf[0], transition.draw_inputs(rng_key[None], state))

    return draw_input


def draws_of(chain: Chain, with_gradient: bool = True) -> Callable[[Any, Any], Draws]:
    """``(state, info)`` of a kernel's step -> `Draws`; neutral values for what a kernel lacks."""

    def keep(state, info):
        x, z = chain.transition.ravel(state), chain.z(state.position)
        known = keeps(state, "logdensity")
        potential_energy = -state.logdensity if known else chain.potential_fn(z)
        num_steps = getattr(info, "num_integration_steps", None)
        length = None
        if num_steps is not None and hasattr(info, "step_size"):
            length = jnp.asarray(num_steps * info.step_size, x.dtype)
        return Draws(
            x=x,
            z=z,
            z_grad=gradient_of(chain, state) if with_gradient else None,
            potential_energy=jnp.asarray(potential_energy, x.dtype),
            energy=jnp.asarray(getattr(info, "energy", potential_energy), x.dtype),
            trajectory_length=length,
            num_steps=jnp.asarray(1 if num_steps is None else num_steps, int),
            accept_prob=jnp.asarray(getattr(info, "acceptance_rate", 1.0), x.dtype),
            diverging=jnp.asarray(getattr(info, "is_divergent", False), bool),
        )

    return keep


def keeps(state: Any, name: str) -> bool:
    """Whether a kernel's state has this field, and it is of the whole log density."""
    return hasattr(state, name) and type(state).__name__ not in WITHOUT_PRIOR


def gradient_of(chain: Chain, state: Any) -> Any:
    """The potential energy's gradient by the unconstrained values, from what a kernel keeps."""
    if not keeps(state, "logdensity_grad"):
        return None
    z = chain.z(state.position)
    # Kernels of this package keep it by the vector that they are solved for, BlackJAX's by the
    # position; the way there is linear.
    by_z = jax.vjp(chain.position, z)[1](state.logdensity_grad)[0]
    return jax.tree.map(lambda leaf, like: -jnp.asarray(leaf, like.dtype), by_z, z)


def start_of(chain: Chain, z: Any, rng_key: Any) -> Any:
    """Unconstrained values as the vector that is solved for; `jit` drops the log density."""
    return chain.transition.ravel(chain.transition.init(chain.position(z), rng_key))


def first_step(chain: Chain, z: Any, rng_key: Any, i: Any) -> tuple[Any, Any]:
    """The state after step i, from ``z``, and its draw."""
    key = jax.random.fold_in(rng_key, i)
    state = chain.transition.init(chain.position(z), key)
    state, info = chain.transition.step(state, chain.draw_input(key, state))
    return state, draws_of(chain)(state, info)
