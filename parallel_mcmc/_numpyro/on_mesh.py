"""Which runs of `MCMC` can be solved on a mesh of devices."""

from typing import TYPE_CHECKING

from jax.sharding import Mesh

from parallel_mcmc._core.mesh import (
    check_mesh,
    check_no_diagnosis,
    check_no_store,
    check_no_window,
    time_axis,
)
from parallel_mcmc._numpyro.kernel import ParallelKernel

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.mcmc import MCMC


def checked(mesh: Mesh, mcmc: "MCMC") -> Mesh:
    """Refuse what cannot be solved on a mesh, before anything long starts."""
    kernel = mcmc.sampler
    if not isinstance(kernel, ParallelKernel):
        raise ValueError("A mesh needs a kernel of this package, such as pm.ParallelHMC.")
    if mcmc.num_chains > 1 and mcmc.chain_method != "vectorized":
        raise ValueError('Several chains on a mesh need chain_method="vectorized".')
    mesh = check_mesh(mesh, mcmc.num_samples // mcmc.thinning, mcmc.num_chains)
    check_no_window(kernel.window, mcmc.num_samples, mesh)
    check_no_diagnosis(kernel.diagnose, mesh)
    check_no_store(mcmc._store, mesh)
    axis = time_axis(mesh)
    if axis is not None and mcmc.num_samples % mcmc.thinning:
        raise ValueError(
            f"On a mesh num_samples={mcmc.num_samples} must be a multiple of "
            f"thinning={mcmc.thinning}."
        )
    if axis is not None and kernel.num_adaptive_steps(mcmc.num_warmup) < mcmc.num_warmup:
        raise ValueError(
            f"{type(kernel).__name__} adapts nothing, so that its warm-up is a part of the "
            "chain; give num_warmup=0 on a mesh with the axis 'time'."
        )
    return mesh
