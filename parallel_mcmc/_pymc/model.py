"""A PyMC model as functions of JAX: its log density, where to start, and the way back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._pymc.graph import double_precision, function_of, refusing


class PyMCModel(NamedTuple):
    """A PyMC model on unconstrained values, which are dicts by the names of its value variables.

    Attributes:
        logdensity_fn: from such a dict to the log density, up to a constant, as
            `pymc.Model.logp` has it, with the Jacobians of the transforms.
        position: the initial point of the model, such as ``{"mu": ..., "tau_log__": ...}``; arrays
            of the shapes of the variables.
        constrain: from such a dict to a dict of all free variables, each within its support, and
            of the deterministics, by name. For draws take it under `jax.vmap`.
        coords: labels by dimension, of those that have some.
        dims: names of the dimensions of a variable, by its name.
    """

    logdensity_fn: Callable[[dict[str, Any]], Any]
    position: dict[str, Any]
    constrain: Callable[[dict[str, Any]], dict[str, Any]]
    coords: dict[str, Any]
    dims: dict[str, list]


def from_pymc(model: Any = None, *, random_seed: int | None = None) -> PyMCModel:
    """A PyMC model for any sampler of JAX: `sample`, `run_inference_algorithm`, or another.

    `sample_pymc` does the same and samples, too.

    Args:
        model: a `pymc.Model`; by default that of the context, as in PyMC. Its data are those at the
            time of the call: after `pymc.set_data` call this again.
        random_seed: for variables with ``initval="prior"``.

    Returns:
        A `PyMCModel`. Its functions can be differentiated, compiled and vectorised. They have
        PyTensor's precision, float64 by default: PyTensor's JAX backend switches JAX's
        ``jax_enable_x64`` on when it is first imported, which is here, and for the whole process.

    Raises:
        ImportError: if PyMC is not installed.
        ValueError: for a model with discrete free variables, or without free variables.
        NotImplementedError: for a model with operations that PyTensor cannot take to JAX.

    Costs about a second, for PyTensor's rewrites of the graph; no log density is compiled yet.

    >>> import jax, pymc, parallel_mcmc as pm
    >>> with pymc.Model(coords={"school": ["A", "B", "C"]}) as model:
    ...     tau = pymc.HalfNormal("tau", 5)
    ...     z = pymc.Normal("z", dims="school")
    ...     theta = pymc.Deterministic("theta", tau * z, dims="school")
    ...     y = pymc.Normal("y", theta, 10, observed=[28, 8, -3], dims="school")
    >>> found = pm.from_pymc(model)
    >>> sorted(found.position), found.dims["theta"]
    (['tau_log__', 'z'], ['school'])
    >>> kernel = pm.mala(found.logdensity_fn, 0.3)
    >>> trace = pm.sample(jax.random.key(0), kernel, found.position, 50)
    >>> draws = jax.vmap(jax.vmap(found.constrain))(trace.position)
    >>> {name: value.shape for name, value in sorted(draws.items())}
    {'tau': (1, 50), 'theta': (1, 50, 3), 'z': (1, 50, 3)}
    """
    pymc = library()
    model = pymc.modelcontext(model)
    refuse_what_cannot_be(model)
    from pymc.backends.arviz import coords_and_dims_for_inferencedata
    from pymc.util import get_default_varnames

    names = [variable.name for variable in model.value_vars]
    outputs = get_default_varnames(model.unobserved_value_vars, include_transformed=False)
    logp = model.logp()
    with refusing("this model"):
        density = function_of(model.value_vars, [logp], model.check_bounds)
        outputs_of = function_of(model.value_vars, outputs)

    def logdensity_fn(position: dict[str, Any]) -> Any:
        return density(*(position[name] for name in names))[0]

    def constrain(position: dict[str, Any]) -> dict[str, Any]:
        values = outputs_of(*(position[name] for name in names))
        return {variable.name: x for variable, x in zip(outputs, values, strict=True)}

    with double_precision():
        start = model.initial_point(random_seed)
        position = {name: jnp.asarray(start[name]) for name in names}
        with refusing("this model"):
            jax.eval_shape(logdensity_fn, position)
            jax.eval_shape(constrain, position)
    coords, dims = coords_and_dims_for_inferencedata(model)
    return PyMCModel(logdensity_fn, position, constrain, coords, dims)


def library() -> Any:
    try:
        import pymc
    except ImportError as error:
        raise ImportError(
            f"A PyMC model needs {error.name}: pip install 'parallel_mcmc[pymc]'."
        ) from error
    return pymc


def refuse_what_cannot_be(model: Any) -> None:
    """A chain here moves in continuous coordinates alone."""
    discrete = ", ".join(variable.name for variable in model.discrete_value_vars)
    if discrete:
        raise ValueError(
            f"The model has discrete free variables ({discrete}); sum them out, for one with "
            "`pymc.Mixture`, or sample the model with `pymc.sample`."
        )
    if not model.free_RVs:
        raise ValueError(
            "The model has no free variables, so there is nothing to sample; use "
            "`pymc.sample_prior_predictive` to draw from it."
        )
