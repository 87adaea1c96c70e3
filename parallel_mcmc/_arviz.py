"""Results for ArviZ: `InferenceData` in ArviZ 0.x, `xarray.DataTree` in ArviZ 1.x."""

import copy
import datetime
import inspect
import io
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from parallel_mcmc._core.diagnostics import Predictability
from parallel_mcmc._core.mesh import any_elsewhere
from parallel_mcmc._core.report import SolveInfo, Status
from parallel_mcmc._mcmc.trace import Trace
from parallel_mcmc._store.layout import STATE
from parallel_mcmc._store.store import Store, StoreError
from parallel_mcmc.version import __version__

NAMING = ("coords", "dims", "extra_event_dims", "index_origin")
"""Options of `arviz.from_numpyro` that hold for the warm-up's draws as for the others."""


def to_inference_data(
    trace: Any,
    *,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A `Trace`, or a run of NumPyro's `MCMC`, as ArviZ's container, with the solve's report.

    Args:
        trace: from `sample`; or an `MCMC`, NumPyro's or this package's, with a kernel of this
            package.
        coords, dims: names of coordinates and dimensions, as in `arviz.from_dict`.
        options: for an `MCMC`, other options of `arviz.from_numpyro`, such as
            ``log_likelihood=True`` or ``posterior_predictive``.

    Returns:
        Groups ``posterior`` and, where the kernel has statistics, ``sample_stats``; for an `MCMC`
        those of `arviz.from_numpyro`. For a `parallel_mcmc.MCMC`, after
        ``warmup(..., collect_warmup=True)`` and `run`, there are also ``warmup_posterior`` and
        ``warmup_sample_stats``; NumPyro's own `MCMC` does not keep them. All of these carry the
        attributes ``solver``, ``solver_choice`` (why), ``pilot_exponent`` (of a perturbation, in
        nats per step, where `auto` asked for it), ``tol``, ``window``, ``solve_status``,
        ``solve_iterations``, ``solve_residual``, ``solve_sequential_steps`` (one entry per chain)
        and the versions. After ``diagnose=True``, of `sample` or of a kernel, they also carry
        ``verdict``, in words, and ``lyapunov_exponent``, ``lyapunov_exponent_standard_error``,
        ``contraction``, ``expected_iterations`` and ``error_bound`` (one entry per chain). For a
        `parallel_mcmc.MCMC` they also carry ``warmup_gradients``, ``choice_gradients`` and
        ``sample_gradients``, as in `MCMC.critical_path`. Positions that are not dicts are named by
        their place in the pytree; a single array is ``x``. For NumPyro's own `MCMC` the report is
        on the last window of each chain. For a `Trace` over the devices of several processes, every
        process must call this function, and gets all draws.

    >>> import jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> kernel = pm.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> trace = pm.sample(jax.random.key(0), kernel, jnp.zeros(2), 50)
    >>> data = pm.to_inference_data(trace)
    >>> data["posterior"]["x"].shape, data["posterior"].attrs["solve_status"]
    ((1, 50, 2), ['step_by_step'])
    """
    if not isinstance(trace, Trace):
        return from_mcmc(trace, coords=coords, dims=dims, **options)
    groups = {"posterior": named_arrays(trace.position)}
    if trace.sample_stats:
        groups["sample_stats"] = {
            name: fetched(value) for name, value in trace.sample_stats.items()
        }
    attrs = attributes(trace.solve, trace.settings) | predictions(trace.predictability)
    return build(groups, attrs, coords=coords, dims=dims, **options)


def from_mcmc(mcmc: Any, **options: Any) -> Any:
    """`arviz.from_numpyro`, and how the chains were solved."""
    import arviz

    solve = getattr(getattr(mcmc, "last_state", None), "solve", None)
    if not isinstance(solve, SolveInfo):
        raise TypeError(
            "Expected a Trace or an MCMC that has run with a kernel such as pm.ParallelHMC, got "
            f"{type(mcmc).__name__}; for kernels of NumPyro's use `arviz.from_numpyro`."
        )
    warmup = during_warmup(mcmc)
    if warmup is not None and mcmc._states is warmup._states:  # there has been no run yet
        mcmc, warmup = warmup, None
    drawn = copy.copy(mcmc)  # whose run may have been interrupted
    drawn.num_samples = getattr(mcmc, "_num_drawn", mcmc.num_samples)
    data = arviz.from_numpyro(drawn, **options)
    groups = ["posterior", "sample_stats"]
    if warmup is not None:
        naming = {name: options[name] for name in NAMING if name in options}
        collected = arviz.from_numpyro(warmup, log_likelihood=False, **naming)
        for group in tuple(groups):
            groups.append(f"warmup_{group}")
            add_group(data, groups[-1], collected[group])
    made_by = {"numpyro_version": version("numpyro")}
    if hasattr(mcmc, "solve_settings"):
        settings = mcmc.solve_settings()
    else:
        settings = mcmc.sampler.settings(mcmc.last_state)
    foreseen = predictions(mcmc.last_state.predictability)
    if hasattr(mcmc, "critical_path"):
        foreseen |= mcmc.critical_path()
    for group in groups:
        if group.startswith("warmup_"):
            (settings, solve), foreseen = mcmc._warmup_report, {}
        data[group].attrs.update(attributes(solve, settings) | foreseen | made_by)
    return data


def during_warmup(mcmc: Any) -> Any:
    """The sampler as it was after its warm-up, if that was collected and kept; else None."""
    states = getattr(mcmc, "_warmup_states", None)
    if states is None:
        return None
    sampler = copy.copy(mcmc)
    sampler._states, sampler._states_flat, sampler.num_samples = states, None, mcmc.num_warmup
    return sampler


def add_group(data: Any, name: str, group: Any) -> None:
    """In place: by a method of the container of ArviZ 0.x, as a child of a tree in 1.x."""
    if hasattr(data, "add_groups"):
        data.add_groups({name: group}, warn_on_custom_groups=False)
    else:
        data[name] = group


def build(groups: dict[str, dict[str, Any]], attrs: dict[str, Any], **kwargs: Any) -> Any:
    """One code path for both majors."""
    import arviz

    if has_inference_data(arviz):
        data = arviz.from_dict(**groups, **kwargs)
    else:
        data = arviz.from_dict(groups, **{name: value for name, value in kwargs.items() if value})
    for group in groups:
        data[group].attrs.update(attrs)
    return data


def has_inference_data(arviz: Any) -> bool:
    """Whether this is ArviZ 0.x."""
    return "posterior" in inspect.signature(arviz.from_dict).parameters


def datasets_of(data: Any) -> dict[str, Any]:
    """The groups of ArviZ's container as xarray's datasets, by name."""
    tree = data.to_datatree() if hasattr(data, "to_datatree") else data
    return {name: node.to_dataset(inherit=False) for name, node in tree.children.items()}


def netcdf(data: Any) -> bytes:
    """The bytes of a netCDF file of ArviZ's container, compressed.

    HDF5 ends the process if its file cannot grow, as on a full disk, and leaves half of it. In
    memory it cannot happen, and whoever writes the bytes gets an OSError.
    """
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    tree = data.to_datatree() if hasattr(data, "to_datatree") else data
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        for node in tree.subtree:
            group = node.to_dataset(inherit=False)
            encoding = {name: {"zlib": value.dtype.kind in "biuf"} for name, value in group.items()}
            group.dump_to_store(H5NetCDFStore(file, group=node.path), encoding=encoding)
    return buffer.getvalue()


def open_store(path: Any) -> Any:
    """ArviZ's container of a stored run, with draws on disk; also while the run goes on.

    Args:
        path: of the store.

    Returns:
        `xarray.DataTree` with ArviZ 1.x, `arviz.InferenceData` with 0.x. It has all complete
        windows, and reads them when they are used.

    Raises:
        StoreError: if there is no such store.
    """
    import xarray

    store = Store(path)
    if not store.num_draws():
        raise StoreError(f"{store.path} has no draws yet; wait for its first window.")
    tree = xarray.open_datatree(store.path, engine="zarr", consolidated=True)
    del tree[STATE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 0.23 announces 1.0 when it is imported
        import arviz
    return arviz.InferenceData.from_datatree(tree) if has_inference_data(arviz) else tree


def named_arrays(position: Any) -> dict[str, Any]:
    """Leaves by name: keys and indices of the path, joined by dots."""
    leaves = jax.tree_util.tree_flatten_with_path(position)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or "x": fetched(leaf)
        for path, leaf in leaves
    }


def fetched(leaf: Any) -> np.ndarray:
    """The whole array, also where other processes hold a part of it: then all of them must ask."""
    if any_elsewhere(leaf) and not leaf.is_fully_replicated:
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def attributes(solve: SolveInfo, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The report as attributes that every file format can hold: numbers, strings, lists of them."""
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "inference_library": "parallel_mcmc",
        "inference_library_version": __version__,
        "jax_version": version("jax"),
        "blackjax_version": version("blackjax"),
        "device": jax.devices()[0].device_kind,
        **settings,
        "solve_status": statuses(solve),
        "solve_iterations": np.atleast_1d(solve.num_iterations).tolist(),
        "solve_residual": np.atleast_1d(solve.residual).tolist(),
        "solve_frontier": np.atleast_1d(solve.frontier).tolist(),
        "solve_sequential_steps": np.atleast_1d(solve.num_sequential_steps).tolist(),
        "solve_trembling": np.atleast_1d(solve.num_trembling).tolist(),
        "solve_ties": np.atleast_1d(solve.num_ties).tolist(),
    }


def statuses(solve: SolveInfo) -> list[str]:
    """How each chain was solved, or that it was not to be."""
    pairs = zip(np.atleast_1d(solve.status), np.atleast_1d(solve.num_iterations), strict=True)
    return [
        Status(int(status)).name.lower() if status or made else "step_by_step"
        for status, made in pairs
    ]


def predictions(result: Predictability | None) -> dict[str, Any]:
    """The predictability of each chain as attributes, if it was asked for."""
    if result is None or not np.any(result.num_steps):
        return {}
    return {
        "lyapunov_exponent": np.atleast_1d(result.exponent).tolist(),
        "lyapunov_exponent_standard_error": np.atleast_1d(result.standard_error).tolist(),
        "contraction": np.atleast_1d(result.contraction).tolist(),
        "expected_iterations": np.atleast_1d(result.expected_iterations).tolist(),
        "error_bound": np.atleast_1d(result.error_bound).tolist(),
        "verdict": result.verdict(),
    }
