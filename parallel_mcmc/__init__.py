"""Markov chains evaluated in parallel over their length.

The same seed gives the same draws as the sequential sampler, whichever solver
computes them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from parallel_mcmc._core.auto import auto
from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._core.linearize import (
    exact_blocks,
    exact_diagonal,
    hutchinson,
    hutchinson_blocks,
)
from parallel_mcmc._core.lyapunov import Exponent, lyapunov_exponent
from parallel_mcmc._core.report import (
    ConvergenceError,
    ConvergenceWarning,
    Solution,
    SolveInfo,
    Status,
)
from parallel_mcmc._core.solve import solve
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.solvers import (
    block_quasi_deer,
    deer,
    elk,
    jacobi,
    picard,
    quasi_deer,
    quasi_elk,
    sequential,
)
from parallel_mcmc._mcmc.adaptation import AdaptationWarning
from parallel_mcmc._mcmc.gibbs import GibbsBlock, gibbs
from parallel_mcmc._mcmc.hmc import hmc
from parallel_mcmc._mcmc.kernel import Kernel
from parallel_mcmc._mcmc.mala import mala
from parallel_mcmc._mcmc.random_walk import random_walk
from parallel_mcmc._mcmc.runs import run_parallel, run_sequential
from parallel_mcmc._mcmc.sampling import sample
from parallel_mcmc._mcmc.trace import Trace
from parallel_mcmc._mcmc.trajectory import parallel_integrator
from parallel_mcmc._mcmc.transition import Transition
from parallel_mcmc.version import __version__

if TYPE_CHECKING:
    from parallel_mcmc._arviz import open_store, to_inference_data
    from parallel_mcmc._blackjax.adaptation import parallel_adaptation
    from parallel_mcmc._blackjax.algorithm import BlockInfo, parallelize, run_inference_algorithm
    from parallel_mcmc._blackjax.integrator import blackjax_integrator
    from parallel_mcmc._blackjax.transition import from_blackjax
    from parallel_mcmc._numpyro.blackjax import ParallelBlackJAX
    from parallel_mcmc._numpyro.centering import Centering, centering
    from parallel_mcmc._numpyro.gibbs import ParallelGibbs
    from parallel_mcmc._numpyro.hmc import ParallelHMC
    from parallel_mcmc._numpyro.mala import ParallelMALA
    from parallel_mcmc._numpyro.mcmc import MCMC
    from parallel_mcmc._numpyro.random_walk import ParallelRandomWalk
    from parallel_mcmc._plots import plot_convergence, plot_predictability
    from parallel_mcmc._pymc.model import PyMCModel, from_pymc
    from parallel_mcmc._pymc.sampling import sample_pymc
    from parallel_mcmc._store.store import StoreError

_ON_DEMAND = {
    "to_inference_data": "_arviz",
    "StoreError": "_store.store",
    "open_store": "_arviz",
    "BlockInfo": "_blackjax.algorithm",
    "Centering": "_numpyro.centering",
    "MCMC": "_numpyro.mcmc",
    "ParallelBlackJAX": "_numpyro.blackjax",
    "ParallelGibbs": "_numpyro.gibbs",
    "ParallelHMC": "_numpyro.hmc",
    "ParallelMALA": "_numpyro.mala",
    "ParallelRandomWalk": "_numpyro.random_walk",
    "blackjax_integrator": "_blackjax.integrator",
    "PyMCModel": "_pymc.model",
    "centering": "_numpyro.centering",
    "from_blackjax": "_blackjax.transition",
    "from_pymc": "_pymc.model",
    "parallel_adaptation": "_blackjax.adaptation",
    "parallelize": "_blackjax.algorithm",
    "plot_convergence": "_plots",
    "plot_predictability": "_plots",
    "run_inference_algorithm": "_blackjax.algorithm",
    "sample_pymc": "_pymc.sampling",
}
"""Where to find what needs another library; imported when first asked for."""

__all__ = [
    "MCMC",
    "AdaptationWarning",
    "BlockInfo",
    "Centering",
    "ConvergenceError",
    "ConvergenceWarning",
    "Exponent",
    "GibbsBlock",
    "Kernel",
    "ParallelBlackJAX",
    "ParallelGibbs",
    "ParallelHMC",
    "ParallelMALA",
    "ParallelRandomWalk",
    "Predictability",
    "PyMCModel",
    "Solution",
    "SolveInfo",
    "Solver",
    "Status",
    "StoreError",
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
    "from_pymc",
    "gibbs",
    "hmc",
    "hutchinson",
    "hutchinson_blocks",
    "jacobi",
    "lyapunov_exponent",
    "mala",
    "open_store",
    "parallel_adaptation",
    "parallel_integrator",
    "parallelize",
    "picard",
    "plot_convergence",
    "plot_predictability",
    "quasi_deer",
    "quasi_elk",
    "random_walk",
    "run_inference_algorithm",
    "run_parallel",
    "run_sequential",
    "sample",
    "sample_pymc",
    "sequential",
    "solve",
    "to_inference_data",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(importlib.import_module(f"parallel_mcmc.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module 'parallel_mcmc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
