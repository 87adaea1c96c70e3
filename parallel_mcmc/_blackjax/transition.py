"""A BlackJAX algorithm as a `Transition`: which fields of its state are solved for.

BlackJAX states cache log densities and gradients. Only these fields have to be solved for:

| state             | kernels                                     | solved for                |
|-------------------|---------------------------------------------|---------------------------|
| `RWState`         | rmh, irmh, additive_step_random_walk        | position                  |
| `EllipSliceState` | elliptical_slice                            | position                  |
| `SliceState`      | slice_sampling                              | position                  |
| `MALAState`       | mala                                        | position                  |
| `BarkerState`     | barker                                      | position                  |
| `HMCState`        | hmc, mhmc, nuts, rmhmc, adjusted_mclmc      | position                  |
| `MarginalState`   | mgrad_gaussian                              | position                  |
| `DynamicHMCState` | dhmc, dmhmc, adjusted_mclmc_dynamic         | position                  |
| `GHMCState`       | ghmc                                        | position, momentum, slice |
| `IntegratorState` | mclmc                                       | position, momentum        |

The random path length of a `DynamicHMCState` follows from an argument that does not depend on the
position, and is computed beforehand.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._core.programs import NUM_KEPT, compiled
from parallel_mcmc._mcmc.kernel import Kernel
from parallel_mcmc._mcmc.runs import run_sequential
from parallel_mcmc._mcmc.transition import Transition, keys_of_steps

FIELDS = {
    "RWState": ("position",),
    "EllipSliceState": ("position",),
    "SliceState": ("position",),
    "MALAState": ("position",),
    "BarkerState": ("position",),
    "HMCState": ("position",),
    "MarginalState": ("position",),
    "DynamicHMCState": ("position",),
    "GHMCState": ("position", "momentum", "slice"),
    "IntegratorState": ("position", "momentum"),
}
"""The fields to solve for, by the name of the state's type."""

SELF_EVOLVING = {"DynamicHMCState": "random_generator_arg"}
"""A field that depends only on its own value in the previous state."""


def from_blackjax(algorithm: Any, *, fields: tuple[str, ...] | None = None) -> Kernel:
    """A BlackJAX algorithm as a kernel, for algorithms whose state types `sample` does not know.

    Args:
        algorithm: a BlackJAX `SamplingAlgorithm`.
        fields: the fields of the state that the chain carries from step to step; all
            others must follow from them by ``algorithm.init(position)``. By default
            taken from `FIELDS`. For other types of states the default is ``("position",)``,
            after a check on a few steps that this rebuilds the state.

    Raises, when it is used:
        ValueError: if ``init(position)`` does not rebuild the state.

    Costs: a step makes one more evaluation of log density and gradient than in BlackJAX,
    to rebuild the caches.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> algorithm = blackjax.mala(lambda x: -0.5 * jnp.sum(x**2), step_size=0.3)
    >>> kernel = pm.from_blackjax(algorithm, fields=("position",))
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(2), 100)
    >>> trace.position.shape
    (1, 100, 2)
    """
    fields = None if fields is None else tuple(fields)
    return Kernel(lambda position: transition_of(algorithm, position, fields), "BlackJAX")


def transition_of(
    algorithm: Any, position: Any, fields: tuple[str, ...] | None = None
) -> Transition:
    """`from_blackjax` for positions like this one; returns the same object each time."""
    position = jax.tree.map(jnp.asarray, position)
    leaves, structure = jax.tree.flatten(position)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    x64 = jax.config.read("jax_enable_x64")
    transition, kind = _transition(algorithm, structure, shapes, fields, x64)
    if fields is None and known_fields(kind) is None:
        check_rebuild(transition, position, kind.__name__)
    return transition


@functools.lru_cache(maxsize=NUM_KEPT)
def _transition(algorithm, structure, shapes, fields, x64):
    """`transition_of` for positions of one structure; cached, so that nothing compiles twice.

    ``x64`` is part of the cache key, because the dtypes that `init` creates depend on it.
    """
    position = jax.tree.unflatten(structure, shapes)
    template = jax.eval_shape(
        lambda position: algorithm.init(position, jax.random.key(0)), position
    )
    kind = type(template)
    if fields is None:
        fields = known_fields(kind) or ("position",)
    check_fields(template, fields)
    evolving = SELF_EVOLVING.get(kind.__name__) if known_fields(kind) else None
    _, unravel_fields = ravel_pytree(
        {
            name: jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), getattr(template, name)
            )
            for name in fields
        }
    )

    def init(position, rng_key):
        return algorithm.init(position, rng_key)

    def ravel(state):
        return ravel_pytree({name: getattr(state, name) for name in fields})[0]

    def unravel(x):
        values = unravel_fields(x)
        # Fields that `init` draws with this key are replaced by ``values``.
        state = algorithm.init(values["position"], jax.random.key(0))._replace(**values)
        return lowered(state) if kind.__name__ == "EllipSliceState" else state

    def draw_inputs(keys, state):
        if evolving is None:
            return keys, None

        def evolve(value, key):
            # Only one field of this step is used; the compiler drops the rest.
            after = algorithm.step(key, state._replace(**{evolving: value}))[0]
            return getattr(after, evolving), value

        return keys, jax.lax.scan(evolve, getattr(state, evolving), keys)[1]

    def step(state, inputs):
        key, value = inputs
        if evolving is not None:
            state = state._replace(**{evolving: value})
        return algorithm.step(key, state)

    return Transition(init, draw_inputs, step, ravel, unravel, "BlackJAX"), kind


def lowered(state: Any) -> Any:
    """The state with its log likelihood lowered by rounding, so that elliptical slices end.

    Their loop shrinks its bracket until a proposal is above log likelihood + log u. Far out, where
    an iterate may be, log u is lost in rounding, and no proposal is above the state's own value.
    """
    value = jax.lax.stop_gradient(state.logdensity)
    value = value - jnp.finfo(value.dtype).eps * jnp.abs(value)
    # Nothing compares as above or below NaN, so with NaN any proposal ends the loop.
    return state._replace(logdensity=jnp.where(jnp.isfinite(value), value, jnp.nan))


def known_fields(kind: type) -> tuple[str, ...] | None:
    """The fields to solve for in BlackJAX's own states; None for other types of the same name."""
    return FIELDS.get(kind.__name__) if kind.__module__.startswith("blackjax.") else None


def check_fields(template: Any, fields: tuple[str, ...]) -> None:
    """Every field exists, holds floating-point numbers, and ``position`` is among them."""
    present = getattr(template, "_fields", ())
    kind = type(template).__name__
    missing = [name for name in fields if name not in present]
    if missing or "position" not in fields:
        raise ValueError(
            f"A {kind} has the fields {', '.join(present) or '(none)'}; `fields` must be among "
            f"them and include 'position', got {fields}."
        )
    for name in fields:
        for leaf in jax.tree.leaves(getattr(template, name)):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(
                    f"The field {name!r} of {kind} holds {leaf.dtype}, which a solve cannot carry; "
                    "solve for floating-point fields only."
                )


@compiled(num_static=1)
def _states_and_rebuilt(transition, position):
    """The states of a few steps, and each state rebuilt from the fields that are solved for."""
    key = jax.random.key(1)
    state = transition.init(position, key)
    inputs = transition.draw_inputs(keys_of_steps(key, 8), state)
    states = run_sequential(transition, state, inputs, lambda state, info: state)[1]
    return states, jax.lax.map(lambda state: transition.unravel(transition.ravel(state)), states)


def check_rebuild(transition: Transition, position: Any, kind: str) -> None:
    """Take a few steps and check that each state follows from the fields that are solved for."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(position)):
        raise ValueError(
            f"The state type {kind} is not known, and inside `jit` it cannot be tried; name what "
            'the chain carries from step to step, such as fields=("position",).'
        )

    states, rebuilt = _states_and_rebuilt(transition, position)
    differing = [
        name
        for name in states._fields
        if not all(
            (
                jnp.issubdtype(a.dtype, jnp.inexact)
                and jnp.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
            )
            or jnp.array_equal(a, b)
            for a, b in zip(
                *map(jax.tree.leaves, (getattr(states, name), getattr(rebuilt, name))), strict=True
            )
        )
    ]
    if differing:
        raise ValueError(
            f"init(position) does not rebuild the {kind}: {', '.join(differing)} differ after a "
            f"few steps. Name all that the chain carries from step to step, such as "
            f'fields=("position", "{differing[0]}").'
        )
