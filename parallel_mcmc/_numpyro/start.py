"""How a chain begins: where, and with which state."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from numpyro.infer import init_to_uniform, initialize_model
from numpyro.infer.util import ParamInfo
from numpyro.util import is_prng_key

from parallel_mcmc._core.auto import compares
from parallel_mcmc._core.diagnostics import unknown
from parallel_mcmc._core.keys import check_keys
from parallel_mcmc._core.profiles import Profile
from parallel_mcmc._core.programs import ready, within_memory
from parallel_mcmc._core.windows import run_info
from parallel_mcmc._mcmc.progress import showing
from parallel_mcmc._mcmc.transition import profile_of
from parallel_mcmc._numpyro.bars import after_helpers
from parallel_mcmc._numpyro.chain import first_step, start_of
from parallel_mcmc._numpyro.choice import choice_for
from parallel_mcmc._numpyro.helpers import HelpersPlan, settle, warn_of_helpers, without_helpers
from parallel_mcmc._numpyro.state import Buffer, ParallelState, Plan

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.kernel import ParallelKernel

DEFAULT_INIT = init_to_uniform


def begin(
    kernel: "ParallelKernel",
    rng_key: Any,
    num_warmup: int,
    init_params: Any,
    model_args: tuple,
    model_kwargs: dict,
    compiled: Callable,
    num_draws: int | None = None,
    shows_progress: bool = False,
) -> ParallelState:
    """The state to begin with, of one chain or of a batch of them, made by one program.

    ``compiled(name, run, args, kwargs)`` makes ``run`` one; ``num_draws`` as in `plan_of_helpers`.
    A bar shows that helpers are at work, and what they have found.
    """
    one = is_prng_key(rng_key)
    keys = jax.random.split(rng_key) if one else jax.vmap(jax.random.split, out_axes=1)(rng_key)
    z = kernel.start(keys[1], init_params, model_args, model_kwargs)
    z = jax.tree.map(jnp.asarray, z)
    first = z if one else jax.tree.map(lambda leaf: leaf[0], z)
    plan = kernel.plan_of_helpers(first, num_warmup, init_params is not None, num_draws)
    if plan is None and num_draws is not None:
        raise ValueError(
            "thinning='auto' is found by the helpers of a warm-up, and with these settings of "
            "the kernel or of num_warmup there are none; give a number of steps."
        )
    if plan is not None and init_params is not None:  # before helpers begin elsewhere
        at_start = kernel.target(model_args, model_kwargs)
        check_finite((at_start if one else jax.vmap(at_start))(z))

    def run(values, args, kwargs):
        def init_one(z, rng_key):
            return first_state(kernel, z, rng_key, num_warmup, plan, args, kwargs)

        return (init_one if one else jax.vmap(init_one))(*values)

    program = compiled(("init", one, num_warmup, str(plan)), run, model_args, model_kwargs)
    shows_progress = shows_progress and plan is not None
    with within_memory(), showing(None, shows_progress, "warm-up", "gradient") as bar:
        state = ready(program((z, keys[0])))
        after_helpers(bar, state)
    kernel._sample_fn = kernel.sample
    kernel._warned.clear()
    if plan is not None:
        warn_of_helpers(state.warmup, first)
    elif init_params is not None:
        check_finite(state.potential_energy)
    return state


def first_state(
    kernel: "ParallelKernel",
    z: Any,
    rng_key: Any,
    num_warmup: int,
    plan: HelpersPlan | None,
    model_args: tuple,
    model_kwargs: dict,
) -> ParallelState:
    """The first state of a chain, after its helpers, if any, have warmed it up; traceable."""
    key_helpers = jax.random.fold_in(rng_key, 3)  # the next three may be those of 0, 1, 2
    rng_key, key_adapt, key_init = jax.random.split(rng_key, 3)
    potential_fn, helped = kernel.target(model_args, model_kwargs), None
    if plan is not None:
        helped = settle(potential_fn, z, key_helpers, num_warmup, plan)
        z = helped.z
    adapt_state = kernel.adapt_init(z, key_adapt, num_warmup, potential_fn, helped)
    chain = kernel.chain(potential_fn, z, adapt_state, (model_args, model_kwargs))
    x = jax.jit(lambda z: start_of(chain, z, key_init))(z)
    draws = jax.eval_shape(lambda: first_step(chain, z, rng_key, jnp.zeros((), int))[1])
    # Traced where it matters alone, as that takes as long as a compilation may.
    profile = Profile()
    if compares(kernel.solver):
        profile = profile_of(chain.transition, jax.eval_shape(chain.transition.unravel, x))
    choice, length = choice_for(kernel, x, None, profile)
    if choice.solver.linearize is not None:  # steps are drawn at once, under `vmap`
        check_keys(jax.random.normal, rng_key)
    empty = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), draws)
    zero = jnp.zeros((), x.dtype)
    z = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), z, draws.z)
    has_gradient = draws.z_grad is not None
    at_start = jax.value_and_grad(potential_fn) if has_gradient else potential_fn
    found = jax.jit(at_start)(z)
    potential_energy, z_grad = found if has_gradient else (found, None)
    potential_energy = jnp.asarray(potential_energy, x.dtype)
    return ParallelState(
        i=jnp.zeros((), int),
        z=z,
        z_grad=z_grad,
        potential_energy=potential_energy,
        energy=potential_energy,
        trajectory_length=None if draws.trajectory_length is None else zero,
        num_steps=jnp.zeros((), int),
        accept_prob=zero,
        mean_accept_prob=zero,
        diverging=jnp.zeros((), bool),
        adapt_state=adapt_state,
        rng_key=rng_key,
        predictability=unknown(x.dtype) if kernel.diagnose else None,
        warmup=without_helpers(x.dtype) if helped is None else helped.warmup,
        solve=run_info(jnp.ones(1, bool), x.dtype)._replace(
            num_sequential_steps=jnp.zeros((), jnp.int32)
        ),
        x=x,
        buffer=Buffer(empty, jnp.full((), length, int), rng_key, jnp.zeros((), jnp.uint32)),
        plan=Plan(num_warmup, profile),
    )


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

    These functions take the model's arguments, so they also work for other data.
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
