"""Where a chain of a NumPyro model begins, and what is wrong with a start that will not do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer import init_to_uniform, initialize_model
from numpyro.infer.util import ParamInfo

DEFAULT_INIT = init_to_uniform


def find_start(
    model: Callable,
    rng_key: Any,
    init_strategy: Callable,
    needs_gradient: bool,
    forward_mode: bool,
    model_args: tuple,
    model_kwargs: dict,
) -> Any:
    """NumPyro's ``ModelInfo``: a valid start and the functions that it derives from the model.

    These take the model's arguments, so that they do for other data as well.
    """
    info = initialize_model(
        rng_key,
        model,
        init_strategy=init_strategy,
        dynamic_args=True,
        model_args=model_args,
        model_kwargs=model_kwargs,
        forward_mode_differentiation=forward_mode,
        validate_grad=needs_gradient,
    )
    if not jax.tree.leaves(info.param_info.z):
        raise ValueError(
            "The model has no continuous latent site, so there is nothing to sample; use "
            "`numpyro.infer.Predictive` to draw from it."
        )
    return info


def given(init_params: Any) -> Any:
    """The start of a chain without a model, where there is nothing else."""
    if init_params is None:
        raise ValueError(
            "Without a model there is nothing to draw a start from: pass `init_params`."
        )
    return init_params.z if isinstance(init_params, ParamInfo) else init_params


def chosen_start(init_params: Any, found: Any) -> Any:
    """The user's start where there is one, of the same sites and shapes as the one found."""
    if init_params is None:
        return found
    init_params = given(init_params)
    shapes, expected = (jax.tree.map(jnp.shape, tree) for tree in (init_params, found))
    if shapes != expected:
        raise ValueError(
            f"init_params must hold unconstrained values of shapes {expected}, got {shapes}; "
            "`numpyro.infer.util.unconstrain_fn` makes them from constrained ones."
        )
    return init_params


def check_finite(potential_energy: Any) -> None:
    if isinstance(potential_energy, jax.core.Tracer):
        return
    finite = jnp.isfinite(potential_energy)
    if not finite.all():
        # Chains that run one after the other come here one by one.
        which = f" of chain {int(jnp.argmin(finite))}" if finite.ndim else ""
        raise ValueError(
            f"The log density is not finite at the init_params{which}; "
            "leave `init_params` out to let NumPyro look for a start, or begin inside the support."
        )
