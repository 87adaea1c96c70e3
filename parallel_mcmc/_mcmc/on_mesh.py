"""`sample` on a mesh: chains along one axis, and each chain's time along the other.

Randomness is drawn where it is used, and states and draws stay there: no device ever holds a whole
chain. The draws are those of one device, because counters, not devices, number the randomness.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from parallel_mcmc._core.mesh import CHAINS, TIME, cut, over_devices, probes_on, spec


def run_on_mesh(
    chain: Any, over_chains: Any, transition: Any, draw: Any, linearize: Any, num_steps: int,
    mesh: Mesh, keys: Any, states: Any,
) -> Any:  # fmt: skip
    """What ``chain`` returns for each of several chains. Traceable.

    Args:
        chain: ``(number, state, inputs, probes) -> (draws, info)`` of one chain, with time leading
            in ``inputs`` and ``draws``. It is traced for the piece that a device has.
        over_chains: `jax.vmap`, or what stands for it.
        transition: of the chains.
        draw: ``(key, state) -> inputs`` of one chain.
        linearize: of the solver.
        num_steps: T.
        mesh: from `check_mesh`.
        keys, states: one of each for every chain.
    """
    inputs = cut(mesh, over_chains(draw)(keys, states), CHAINS, TIME)
    x = jax.eval_shape(jax.vmap(transition.ravel), states)
    shape = num_steps, x.shape[1]
    probes, of_probes = probes_on(mesh, linearize, jax.random.key(0), shape, x.dtype)

    def piece(numbers, states, inputs, probes):
        return over_chains(lambda *args: chain(*args, probes))(numbers, states, inputs)

    of_chains, of_steps = spec(mesh, CHAINS), spec(mesh, CHAINS, TIME)
    run = over_devices(
        mesh, piece, (of_chains, of_chains, of_steps, of_probes), (of_steps, of_chains)
    )
    draws, info = run(jnp.arange(keys.shape[0]), states, inputs, probes)
    # A process can look at what is on its own devices alone.
    return draws, cut(mesh, info) if mesh.is_multi_process else info
