"""`sample_pymc`: a PyMC model through `ParallelHMC`, with the result of `pymc.sample`."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal

import jax
import numpy as np

from parallel_mcmc._arviz import build, datasets_of, to_inference_data
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._numpyro.hmc import ParallelHMC
from parallel_mcmc._numpyro.mcmc import MCMC
from parallel_mcmc._pymc.graph import double_precision, function_of, refusing
from parallel_mcmc._pymc.model import PyMCModel, from_pymc, library

STATISTICS = (
    "potential_energy",
    "energy",
    "num_steps",
    "accept_prob",
    "adapt_state.step_size",
)
"""Of each draw, besides whether it diverged; ArviZ has its own names for them."""

RETRIES = 10
"""Starts of a chain that may be tried again for their density, as many as in PyMC."""


def sample_pymc(
    model: Any = None,
    *,
    draws: int = 1_000,
    tune: int = 1_000,
    chains: int = 4,
    random_seed: Any = None,
    thinning: int | Literal["auto"] = 1,
    log_likelihood: bool = False,
    compute_convergence_checks: bool = True,
    progressbar: bool = True,
    **options: Any,
) -> Any:
    """Sample a PyMC model with `ParallelHMC`: takes the place of `pymc.sample`.

    Chains start within 1 of the initial point, in unconstrained values, as in PyMC. They are run
    by `pm.MCMC`, side by side, in PyTensor's precision.

    Args:
        model: a `pymc.Model`; by default that of the context, as in PyMC.
        draws: of each chain.
        tune: the most steps of each helper of a chain's warm-up; if the helpers do not settle, or
            with fewer than 200, steps of NumPyro's warm-up.
        chains: number of chains.
        random_seed: an int, a sequence of ints, a NumPy generator, or None for draws that differ
            from call to call. The same seed gives the same draws.
        thinning: steps per draw, or ``"auto"``, as in `pm.MCMC`.
        log_likelihood: whether to add the group ``log_likelihood``.
        compute_convergence_checks: whether to log PyMC's warnings of divergences, R-hat and ESS.
        progressbar: whether to show one.
        options: of `ParallelHMC`, such as ``target_accept_prob``, ``trajectory_length``,
            ``solver`` or ``window``.

    Returns:
        What `pymc.sample` returns: `arviz.InferenceData` with ArviZ 0.x, `xarray.DataTree` with
        1.x, with the groups ``posterior`` (free variables and deterministics of the shape
        ``(chains, draws, *shape)``, with the model's dims and coords), ``sample_stats``,
        ``observed_data`` and ``constant_data``. The first two have the attributes of
        `pm.to_inference_data`, ``sampling_time`` in seconds, warm-up and compilation included, and
        ``tuning_steps``.

    Raises:
        ImportError, ValueError, NotImplementedError: as `from_pymc`, before anything long starts;
            a `ValueError` also where no start has a finite density.
        TypeError: for an option that `ParallelHMC` does not have.

    Costs what `pm.MCMC` does, and one evaluation of the deterministics per draw.

    >>> import pymc, parallel_mcmc as pm
    >>> with pymc.Model(coords={"group": ["a", "b"]}) as model:
    ...     mu = pymc.Normal("mu", dims="group")
    ...     y = pymc.Normal("y", mu, 1, observed=[1.0, 2.0], dims="group")
    >>> data = pm.sample_pymc(model, draws=100, chains=2, random_seed=0, progressbar=False)
    >>> data["posterior"]["mu"].dims, data["observed_data"]["y"].dims
    (('chain', 'draw', 'group'), ('group',))
    """
    model = library().modelcontext(model)
    rng = np.random.default_rng(random_seed)
    found = from_pymc(model, random_seed=int(rng.integers(2**30)))
    with double_precision():
        with refusing("the gradient of this model"):
            jax.eval_shape(jax.grad(found.logdensity_fn), found.position)
        mcmc = MCMC(
            ParallelHMC(potential_fn=lambda z: -found.logdensity_fn(z), **options),
            num_warmup=tune,
            num_samples=draws if thinning == "auto" else draws * thinning,
            num_chains=chains,
            thinning=thinning,
            chain_method="vectorized",
            progress_bar=progressbar,
        )
        start = starts(found, chains, rng)
        begun = time.perf_counter()
        key = jax.random.key(int(rng.integers(2**31)))
        mcmc.run(key, init_params=start, extra_fields=STATISTICS)
        seconds = time.perf_counter() - begun
        data = inference_data(model, found, mcmc, log_likelihood)
    for group in "posterior", "sample_stats":
        data[group].attrs.update(sampling_time=seconds, tuning_steps=tune)
    if compute_convergence_checks:
        from pymc.stats.convergence import log_warnings, run_convergence_checks

        log_warnings(run_convergence_checks(data, model))
    return data


def starts(found: PyMCModel, chains: int, rng: np.random.Generator) -> dict[str, Any]:
    """One for each chain, within 1 of the initial point, where the density is finite.

    Without the axis of chains where there is only one, as NumPyro wants it.
    """
    logdensity = jax.jit(one_matrix_at_a_time(jax.vmap(found.logdensity_fn)))

    def jittered() -> dict[str, np.ndarray]:
        return {
            name: np.asarray(x) + rng.uniform(-1, 1, (chains, *x.shape)).astype(x.dtype)
            for name, x in found.position.items()
        }

    start = jittered()
    for _ in range(1 + RETRIES):
        finite = np.isfinite(logdensity(start))
        if finite.all():
            return start if chains > 1 else {name: x[0] for name, x in start.items()}
        again = jittered()
        start = {
            name: np.where(finite.reshape(-1, *[1] * (x.ndim - 1)), x, again[name])
            for name, x in start.items()
        }
    raise ValueError(
        f"The log density is not finite at any of {1 + RETRIES} starts of chain "
        f"{int(np.argmin(finite))} around the initial point; see `model.point_logps()`, and give "
        "variables an `initval` inside the support."
    )


def inference_data(model: Any, found: PyMCModel, mcmc: MCMC, log_likelihood: bool) -> Any:
    """The groups that PyMC has, with the statistics and attributes of `to_inference_data`."""
    from pymc.backends.arviz import find_constants, find_observations

    unconstrained = mcmc.get_samples(group_by_chain=True)
    by_numpyro = datasets_of(to_inference_data(mcmc))
    groups = {
        "posterior": at_all_draws(found.constrain, unconstrained),
        "sample_stats": {name: x.values for name, x in by_numpyro["sample_stats"].items()},
        "observed_data": find_observations(model),
        "constant_data": find_constants(model),
    }
    if log_likelihood:
        groups["log_likelihood"] = at_all_draws(log_likelihood_of(model), unconstrained)
    groups = {name: group for name, group in groups.items() if group}
    data = build(groups, {}, coords=found.coords, dims=found.dims)
    attrs = by_numpyro["posterior"].attrs | {"pymc_version": version("pymc")}
    for group in "posterior", "sample_stats":
        data[group].attrs.update(attrs)
    return data


def log_likelihood_of(model: Any) -> Callable:
    """From unconstrained values to the log likelihood of each observation, by variable."""
    names = [variable.name for variable in model.value_vars]
    terms = model.logp(model.observed_RVs, sum=False)
    with refusing("the log likelihood of this model"):
        run = function_of(model.value_vars, terms, model.check_bounds)

    def at(position: dict[str, Any]) -> dict[str, Any]:
        values = run(*(position[name] for name in names))
        return {v.name: x for v, x in zip(model.observed_RVs, values, strict=True)}

    return at


def at_all_draws(run: Callable, draws: dict[str, Any]) -> dict[str, np.ndarray]:
    """``run`` of each draw of each chain, as one program."""
    found = jax.jit(one_matrix_at_a_time(jax.vmap(jax.vmap(run))))(draws)
    return jax.tree.map(np.asarray, found)
