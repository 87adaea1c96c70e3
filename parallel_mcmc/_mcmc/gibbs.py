"""Gibbs sampling, reparameterised: each conditional draw a function of the state and fixed noise.

| conditional                    | noise                  | draw                      |
|--------------------------------|------------------------|---------------------------|
| Normal(m, s)                   | z ~ Normal(0, 1)       | m + s z                   |
| InverseGamma(a, b), a constant | w ~ InverseGamma(a, 1) | b w                       |
| Gamma(a, b), a constant        | w ~ Gamma(a, 1)        | w / b                     |
| Gamma(a, b), a from the state  | a PRNG key k           | jax.random.gamma(k, a) / b |
| Categorical(logits)            | g ~ Gumbel             | argmax(logits + g)        |
| inverse CDF F                  | u ~ Uniform(0, 1)      | F(u)                      |

`jax.random.gamma` has implicit derivatives with respect to its shape.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from parallel_mcmc._mcmc.coordinates import Coordinates, coordinates
from parallel_mcmc._mcmc.kernel import Kernel, one_by_one
from parallel_mcmc._mcmc.transition import Transition


class GibbsState(NamedTuple):
    position: dict[str, Array]


class GibbsInfo(NamedTuple):
    """A Gibbs step always moves; there is nothing to report."""


class GibbsBlock(NamedTuple):
    """The update of one block of variables.

    Attributes:
        draw_noise: ``rng_key -> noise`` of one step; it must not depend on the state.
        update: ``(position, noise) -> {name: new value}`` for the variables of the block.
    """

    draw_noise: Callable[[Any], Any]
    update: Callable[[dict[str, Array], Any], dict[str, Array]]


def gibbs(blocks: Sequence[GibbsBlock]) -> Kernel:
    """A systematic-scan Gibbs sampler: each step updates all blocks in the order given.

    Args:
        blocks: the updates of a position that is a dict of arrays; each sees what those before it
            have set.

    Costs one pass over the blocks per step.

    A normal with unknown mean and variance, from the sums of n observations:

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> n, mean, squares = 20, 1.5, 30.0
    >>> blocks = [
    ...     pm.GibbsBlock(
    ...         lambda key: jax.random.normal(key),
    ...         lambda x, z: {"mu": mean + jnp.sqrt(x["variance"] / n) * z},
    ...     ),
    ...     pm.GibbsBlock(
    ...         lambda key: 1 / jax.random.gamma(key, n / 2),
    ...         lambda x, w: {"variance": w * (squares + n * (x["mu"] - mean) ** 2) / 2},
    ...     ),
    ... ]
    >>> start = {"mu": jnp.array(0.0), "variance": jnp.array(1.0)}
    >>> trace = pm.sample(jax.random.key(0), pm.gibbs(blocks), start, 500)
    >>> trace.position["mu"].shape
    (1, 500)
    """
    blocks = tuple(blocks)
    return Kernel(lambda position: gibbs_in(coordinates(position), blocks), "gibbs")


def gibbs_in(coordinates: Coordinates, blocks: tuple[GibbsBlock, ...]) -> Transition:
    """`gibbs` in these coordinates."""
    ravel, unravel = coordinates

    def init(position, rng_key=None):
        return GibbsState(unravel(ravel(position)))

    def draw_input(rng_key, state):
        keys = jax.random.split(rng_key, len(blocks))
        return tuple(block.draw_noise(key) for block, key in zip(blocks, keys, strict=True))

    def step(state, noises):
        position = dict(state.position)
        for block, noise in zip(blocks, noises, strict=True):
            new = block.update(position, noise)
            check_names(new, position)
            position |= new
        return GibbsState(unravel(ravel(position))), GibbsInfo()

    return Transition(
        init,
        one_by_one(draw_input),
        step,
        lambda state: ravel(state.position),
        lambda x: GibbsState(unravel(x)),
        "gibbs",
    )


def check_names(new: Any, position: dict[str, Array]) -> None:
    unknown = set(new) - set(position)
    if unknown:
        raise ValueError(
            f"A Gibbs update set {sorted(unknown)}, which the position does not have; "
            f"its variables are {sorted(position)}."
        )
