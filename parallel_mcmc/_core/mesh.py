"""A mesh of devices: chains along one of its axes, and each chain's time along the other.

The axes are named ``chains`` and ``time``. Device number i of the time axis holds the i-th piece of
every chain, and each device holds pieces of equally many chains.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from parallel_mcmc._core import across
from parallel_mcmc._core.across import Axis
from parallel_mcmc._core.keys import is_rbg
from parallel_mcmc._core.linearize import Linearize, Probes, drawn

CHAINS, TIME = "chains", "time"


def check_mesh(mesh: Any, num_steps: int, num_chains: int | None = None) -> Mesh:
    """The mesh with axes of the kind `jax.shard_map` takes from a program without a mesh.

    Args:
        mesh: as given by the user.
        num_steps: T.
        num_chains: None where there is one chain only, and no axis for chains.

    Raises:
        TypeError: if it is not a `jax.sharding.Mesh` of devices.
        ValueError: for axes of other names, or of a kind or size that does not fit.
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}; make one with "
            "jax.make_mesh((4,), ('time',))."
        )
    known = (TIME,) if num_chains is None else (CHAINS, TIME)
    if not set(mesh.axis_names) <= set(known):
        raise ValueError(
            f"The axes of a mesh must be among {known}, got {mesh.axis_names}; rename them, "
            + ("or use pm.sample for several chains." if num_chains is None else "or drop them.")
        )
    if AxisType.Manual in mesh.axis_types:
        raise ValueError(
            "The mesh has axes of type Manual, as inside jax.shard_map; call this outside, with a "
            "mesh of type Auto or Explicit."
        )
    for name, number, what in ((TIME, num_steps, "steps"), (CHAINS, num_chains, "chains")):
        size = mesh.shape.get(name, 1)
        if number is not None and number % size:
            fewer, more = number - number % size, number + size - number % size
            take = f"{fewer:,} or {more:,}" if fewer else f"{more:,}"
            raise ValueError(
                f"The {size} devices of the mesh's axis '{name}' must divide the {what}, got "
                f"{number:,}; take {take} {what}."
            )
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    around = jax.sharding.get_abstract_mesh()
    if not around.empty and around != mesh.abstract_mesh:
        raise ValueError(
            "Inside jax.set_mesh or jax.shard_map there is another mesh, or one whose axes are not "
            "of type Auto; call this outside, or give the mesh axis_types=(AxisType.Auto, ...)."
        )
    return mesh


def mesh_of_chains(num_chains: int, *arguments: Any) -> Mesh | None:
    """The devices of this process over which several chains go if no mesh is given.

    As many as divide the number of chains. None if that is one, if a device has been chosen (by
    `jax.default_device`, or by ``arguments`` that are committed to one), if `jax.set_mesh` has
    chosen many, and inside `jit` and `vmap`, where arguments are traced.
    """
    arrays = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
    chosen = getattr(jax.config, "jax_default_device", None) is not None or any(
        isinstance(leaf, jax.core.Tracer) or (leaf.committed and len(leaf.devices()) == 1)
        for leaf in arrays
    )
    if chosen or num_chains == 1 or not jax.sharding.get_abstract_mesh().empty:
        return None
    devices = jax.local_devices()
    size = max(n for n in range(1, len(devices) + 1) if num_chains % n == 0)
    return Mesh(np.array(devices[:size]), (CHAINS,)) if size > 1 else None


def check_no_window(window: int | None, num_steps: int, mesh: Mesh) -> None:
    if time_axis(mesh) is not None and window is not None and window < num_steps:
        raise ValueError(
            f"A chain whose time is over devices is solved as a whole, got window={window}; leave "
            "the window out, or take more devices or fewer steps."
        )


def check_no_diagnosis(diagnose: bool, mesh: Mesh) -> None:
    if diagnose and time_axis(mesh) is not None:
        raise ValueError(
            "A chain whose time is over devices is not diagnosed; give diagnose=True to a shorter "
            "run without the axis 'time'."
        )


def check_no_rbg(rng_key: Any) -> None:
    if is_rbg(rng_key):
        raise ValueError(
            "Keys of kind rbg draw other numbers on several devices than on one; use "
            'jax.random.key(seed, impl="threefry2x32"), or no mesh.'
        )


def check_no_store(store: Any, mesh: Mesh) -> None:
    if store is None:
        return
    if time_axis(mesh) is not None:
        raise ValueError(
            "A run with a store is solved window by window; give it a mesh without the axis 'time'."
        )
    if mesh.is_multi_process:
        raise ValueError(
            "A store is written by one process; give it a mesh of this process's devices, or give "
            "each process chains and a store of its own."
        )


def num_together(mesh: Mesh | None, num_chains: int) -> int:
    """Chains that share a device, or the devices over which their time lies."""
    return num_chains if mesh is None else num_chains // mesh.shape.get(CHAINS, 1)


def num_along_time(mesh: Mesh | None) -> int:
    """Devices over which a chain's time lies; of a CPU no more than it has cores."""
    size = 1 if mesh is None else mesh.shape.get(TIME, 1)
    if size > 1 and mesh is not None and mesh.devices.flat[0].platform == "cpu":
        size = min(size, (os.cpu_count() or 1) * jax.process_count())
    return size


def time_axis(mesh: Mesh | None) -> Axis | None:
    """The axis over which time lies, if it has several devices."""
    size = 1 if mesh is None else mesh.shape.get(TIME, 1)
    return None if size == 1 else Axis(TIME, size)


def on_one_device(tree: Any) -> Any:
    """One copy of arrays that are whole on several devices, such as a start from a mesh."""

    def one(leaf):
        if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
            return leaf
        several = leaf.is_fully_addressable and len(leaf.devices()) > 1
        if not several or not leaf.is_fully_replicated:
            return leaf
        return jax.device_put(leaf, min(leaf.devices(), key=lambda device: device.id))

    # Where `jax.set_mesh` has chosen many, arrays are to stay on them.
    return jax.tree.map(one, tree) if jax.sharding.get_abstract_mesh().empty else tree


def any_elsewhere(tree: Any) -> bool:
    """Whether other processes hold a part of an array, so that this one cannot look at it."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return any(not leaf.is_fully_addressable for leaf in arrays)


def cut(mesh: Mesh, tree: Any, *names: str | None) -> Any:
    """`placed` for what a program computes; what makes an array is then cut, too."""
    where = NamedSharding(mesh, spec(mesh, *names))
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, where), tree)


def over_devices(mesh: Mesh, piece: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """``piece`` on every device of the mesh, traced for the rows that a device has."""

    def traced(*args: Any) -> Any:
        with across.over(time_axis(mesh)):
            return piece(*args)

    # A loop's condition is from gathered numbers, equal on all devices of a chain, unknown to JAX.
    return jax.shard_map(traced, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def probes_on(
    mesh: Mesh, linearize: Linearize | None, rng_key: Any, shape: tuple[int, int], dtype: Any
) -> tuple[Any, PartitionSpec]:
    """What to give a linearisation for its key, ``shape`` being that of all states, and its spec.

    These are the probes that one device would draw; each device has those of its piece.
    """
    probes = drawn(linearize, rng_key, shape, dtype)
    names = (TIME,) if isinstance(probes, Probes) else ()
    return cut(mesh, probes, *names), spec(mesh, *names)


def spec(mesh: Mesh, *names: str | None) -> PartitionSpec:
    """Leading axes of an array along axes of the mesh, as far as it has them."""
    return PartitionSpec(*(name if name in mesh.axis_names else None for name in names))


def placed(mesh: Mesh, tree: Any, *names: str | None) -> Any:
    """Arrays on the devices of the mesh, cut along their leading axes.

    Where several processes share the mesh, each has the same arrays, or a part of one that is on
    the devices of all.
    """
    where = NamedSharding(mesh, spec(mesh, *names))

    def put(leaf):
        if isinstance(leaf, jax.core.Tracer):
            return jax.lax.with_sharding_constraint(leaf, where)
        if not mesh.is_multi_process or any_elsewhere(leaf):
            return jax.device_put(leaf, where)
        if jax.dtypes.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        known = np.asarray(leaf, jnp.result_type(leaf))
        return jax.make_array_from_callback(known.shape, where, lambda rows: known[rows])

    return jax.tree.map(put, tree)
