"""Markov chains evaluated in parallel over their length.

The same seed gives the same draws as the sequential sampler, whichever solver
computes them.
"""

from typing import TYPE_CHECKING, Any

from parallel_mcmc.adaptation import AdaptationWarning
from parallel_mcmc.auto import auto
from parallel_mcmc.diagnostics import Predictability
from parallel_mcmc.kernels.gibbs import GibbsBlock, gibbs
from parallel_mcmc.kernels.hmc import hmc
from parallel_mcmc.kernels.mala import mala
from parallel_mcmc.kernels.random_walk import random_walk
from parallel_mcmc.kernels.trajectory import parallel_integrator
from parallel_mcmc.linearize import exact_blocks, exact_diagonal, hutchinson, hutchinson_blocks
from parallel_mcmc.lyapunov import Exponent, lyapunov_exponent
from parallel_mcmc.report import ConvergenceError, ConvergenceWarning, Solution, SolveInfo, Status
from parallel_mcmc.sampling import predictability, sample
from parallel_mcmc.solve import solve
from parallel_mcmc.solvers import (
    Solver,
    block_quasi_deer,
    deer,
    elk,
    jacobi,
    picard,
    quasi_deer,
    quasi_elk,
    sequential,
)
from parallel_mcmc.trace import Trace
from parallel_mcmc.transition import Transition, run_parallel, run_sequential
from parallel_mcmc.version import __version__

if TYPE_CHECKING:
    from parallel_mcmc.interop.arviz import to_inference_data
    from parallel_mcmc.interop.blackjax import BlockInfo, parallelize, run_inference_algorithm
    from parallel_mcmc.interop.blackjax_adaptation import parallel_adaptation
    from parallel_mcmc.interop.blackjax_integrator import blackjax_integrator
    from parallel_mcmc.interop.blackjax_transition import from_blackjax
    from parallel_mcmc.interop.numpyro_blackjax import ParallelBlackJAX
    from parallel_mcmc.interop.numpyro_centering import Centering, centering
    from parallel_mcmc.interop.numpyro_gibbs import ParallelGibbs
    from parallel_mcmc.interop.numpyro_hmc import ParallelHMC
    from parallel_mcmc.interop.numpyro_mala import ParallelMALA
    from parallel_mcmc.interop.numpyro_mcmc import MCMC
    from parallel_mcmc.interop.numpyro_random_walk import ParallelRandomWalk

_INTEROP = {
    "to_inference_data": "arviz",
    "BlockInfo": "blackjax",
    "Centering": "numpyro_centering",
    "MCMC": "numpyro_mcmc",
    "ParallelBlackJAX": "numpyro_blackjax",
    "ParallelGibbs": "numpyro_gibbs",
    "ParallelHMC": "numpyro_hmc",
    "ParallelMALA": "numpyro_mala",
    "ParallelRandomWalk": "numpyro_random_walk",
    "blackjax_integrator": "blackjax_integrator",
    "centering": "numpyro_centering",
    "from_blackjax": "blackjax_transition",
    "parallel_adaptation": "blackjax_adaptation",
    "parallelize": "blackjax",
    "run_inference_algorithm": "blackjax",
}
"""Where to find what needs another library's module; imported when first asked for."""

__all__ = [
    "MCMC",
    "AdaptationWarning",
    "BlockInfo",
    "Centering",
    "ConvergenceError",
    "ConvergenceWarning",
    "Exponent",
    "GibbsBlock",
    "ParallelBlackJAX",
    "ParallelGibbs",
    "ParallelHMC",
    "ParallelMALA",
    "ParallelRandomWalk",
    "Predictability",
    "Solution",
    "SolveInfo",
    "Solver",
    "Status",
    "Trace",
    "Transition",
    "__version__",
    "auto",
    "blackjax_integrator",
    "block_quasi_deer",
    "centering",
    "deer",
    "elk",
    "exact_blocks",
    "exact_diagonal",
    "from_blackjax",
    "gibbs",
    "hmc",
    "hutchinson",
    "hutchinson_blocks",
    "jacobi",
    "lyapunov_exponent",
    "mala",
    "parallel_adaptation",
    "parallel_integrator",
    "parallelize",
    "picard",
    "predictability",
    "quasi_deer",
    "quasi_elk",
    "random_walk",
    "run_inference_algorithm",
    "run_parallel",
    "run_sequential",
    "sample",
    "sequential",
    "solve",
    "to_inference_data",
]


def __getattr__(name: str) -> Any:
    if name in _INTEROP:
        import importlib

        return getattr(importlib.import_module(f"parallel_mcmc.interop.{_INTEROP[name]}"), name)
    raise AttributeError(f"module 'parallel_mcmc' has no attribute {name!r}")
