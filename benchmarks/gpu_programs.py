"""Programs for an H100, compiled on a machine that has none.

XLA compiles for a GPU from a description of it. That takes JAX's CUDA plugin, which is there
without CUDA, a driver or a GPU; docs/benchmarks.md says how to install it. Choices that XLA makes
by trying on the device are off, so that matrix products may get other kernels than there.
"""

import contextlib
import functools
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax._src.xla_bridge as xla_bridge
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.measure import Program
from parallel_mcmc._core import time_blocks

DEVICE = "NVIDIA H100 80GB HBM3 (described)"
PLUGINS = "jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13"

MEMORY_BYTES = 84929347584

DESCRIPTION = f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 cuda_compute_capability {{ major: 9 }}
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: {MEMORY_BYTES}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 7 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }}
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def is_possible() -> bool:
    for module in PLUGINS:
        with contextlib.suppress(ModuleNotFoundError):  # the package that it would be in
            if importlib.util.find_spec(module) is not None:
                return True
    return False


def prepare() -> None:
    """Settings of JAX and XLA, which they read when they first look for devices."""
    if not is_possible():
        return
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()
    jax.config.update("jax_platforms", "cpu,cuda")


def compile_for_h100(function: Callable, *arguments: Any, num_devices: int = 1) -> Program:
    """Compile ``jax.jit(function)`` for arguments, of which shapes are enough.

    For several devices the function takes their mesh first, with one axis ``time``.
    """
    canonical = xla_bridge.canonicalize_platform
    shapes = jax.eval_shape(lambda *arguments: arguments, *arguments)  # not on another device

    def canonicalize(platform):
        try:
            return canonical(platform)
        except RuntimeError:  # JAX looks for the device that it lowers for (jax issue 23971)
            return "cuda"

    with (
        mock.patch.object(xla_bridge, "canonicalize_platform", canonicalize),
        mock.patch.object(jax, "default_backend", lambda: "gpu"),
        # JAX takes three quarters of a device's memory.
        mock.patch.object(time_blocks, "device_memory", lambda unknown: 0.75 * MEMORY_BYTES),
    ):
        topology = topologies.get_topology_desc(
            "h100", "cuda", target_config=DESCRIPTION, topology=f"1x1x{num_devices}"
        )
        mesh = Mesh(topology.devices, ("time",))
        everywhere = NamedSharding(mesh, PartitionSpec())
        if num_devices == 1:
            jitted = jax.jit(function, in_shardings=everywhere, out_shardings=everywhere)
        else:
            jitted = jax.jit(functools.partial(function, mesh), in_shardings=everywhere)
        begin = time.perf_counter()
        compiled = jitted.trace(*shapes).lower(lowering_platforms=("cuda",)).compile()
        return Program(compiled, (), time.perf_counter() - begin)
