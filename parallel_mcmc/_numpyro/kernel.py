"""What the kernels for `numpyro.infer.MCMC` have in common.

NumPyro's `MCMC`, unmodified, calls `init` once and `sample` once per draw. What these do is in
`start` and `next_step`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import identity, is_prng_key

from parallel_mcmc._core.auto import Auto, any_traced
from parallel_mcmc._core.checks import check_window
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._core.report import Status
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.trace import settings_of
from parallel_mcmc._numpyro.chain import Chain
from parallel_mcmc._numpyro.choice import Run, choice_for_buffer, with_choice
from parallel_mcmc._numpyro.forward import with_forward_gradient
from parallel_mcmc._numpyro.helpers import Helped, HelpersPlan, has_settled
from parallel_mcmc._numpyro.next_step import next_state
from parallel_mcmc._numpyro.start import begin, chosen_start, find_start, given
from parallel_mcmc._numpyro.state import Chosen, ParallelState
from parallel_mcmc._numpyro.window import length_of

NO_ARGUMENTS: dict[str, Any] = {}
"""Of a model without, the same for all chains of a run: see `choice.Run`."""


class ParallelKernel(MCMCKernel):
    """A NumPyro kernel whose draws are solved in parallel; subclasses say which.

    Everything that changes along a chain is in its state. Only `init` changes the kernel itself: it
    keeps the functions that NumPyro derives from the model.
    """

    needs_gradient = True
    """Whether a start needs a finite gradient, too."""

    needs_density = True
    """Whether there must be a model or a potential."""

    fields_of_steps: tuple[str, ...] = ()
    """What is collected by default, beside what all kernels have."""

    trajectory_to_divide: tuple[float, int] | None = None
    """Length of a trajectory and the most leapfrog steps of one, where several short ones may take
    its place: see `division`."""

    def __init__(
        self,
        model: Callable | None,
        potential_fn: Callable | None,
        init_strategy: Callable,
        solver: Solver | Auto | None,
        window: int | None,
        diagnose: bool,
        forward_mode_differentiation: bool = False,
    ):
        if self.needs_density and (model is None) == (potential_fn is None):
            raise ValueError("Give either `model` or `potential_fn`.")
        check_window(window, 1)
        self._model = model
        self._potential_fn = potential_fn
        self._init_strategy = init_strategy
        self.solver = solver
        self.window = window
        self.diagnose = diagnose
        self._forward_mode = forward_mode_differentiation
        # Set by `init`; NumPyro reads the first to see whether that was called.
        self._sample_fn: Callable | None = None
        self._potential_fn_gen: Callable | None = None
        self._postprocess_fn: Callable | None = None
        self._warned: set[bytes] = set()
        self._run: Run | None = None

    # What a kernel says of itself.

    def chain(self, potential_fn: Callable, z: Any, adapt_state: Any, model_args: tuple) -> Chain:
        """The kernel for this potential and these settings; ``model_args`` are (args, kwargs)."""
        raise NotImplementedError

    def num_adaptive_steps(self, num_warmup: int) -> int:
        """How many of the warm-up steps adapt, and so are taken one by one."""
        return 0

    def plan_of_helpers(
        self, z: Any, num_warmup: int, is_given: bool, num_draws: int | None = None
    ) -> HelpersPlan | None:
        """How helpers are to do the warm-up; None if they are not.

        With ``num_draws`` they also find out in how many parts trajectories are to be divided.
        """
        return None

    def divided(self, number: int) -> "ParallelKernel":
        """This kernel with trajectories of a part of their length, as `init` has left it."""
        return self

    def warn_of_adapted(self, state: ParallelState) -> None:
        """Warn of what the warm-up of one chain or of several has led to."""

    def adapt_init(
        self, z: Any, rng_key: Any, num_warmup: int, potential_fn: Callable, helped: Helped | None
    ) -> Any:
        """What the warm-up adapts, before its steps."""
        return None

    def adapt_update(self, state: ParallelState, potential_fn: Callable) -> Any:
        """The same after a step of the warm-up that led to ``state``."""
        return state.adapt_state

    def settings(self, state: ParallelState, chosen: Chosen | None = None) -> dict[str, Any]:
        """How a chain is solved; ``chosen`` is from `choice_for`, by default for a buffer."""
        x = state.x[0] if state.x.ndim > 1 else state.x
        choice = (chosen or choice_for_buffer(self, state.plan, x)).choice
        if chosen is None:  # a state keeps the window that it was begun with
            choice = choice._replace(window=min(choice.window, length_of(state.buffer)))
        return settings_of(choice)

    # NumPyro's interface.

    @property
    def model(self) -> Callable | None:
        return self._model

    @property
    def sample_field(self) -> str:
        return "z"

    @property
    def default_fields(self) -> tuple[str, ...]:
        """What ArviZ's diagnostics ask for, and not only NumPyro's ``z`` and ``diverging``."""
        density = ("potential_energy",) if self.needs_density else ()
        return ("z", "diverging", "accept_prob", *density, *self.fields_of_steps)

    def get_diagnostics_str(self, state: ParallelState) -> str:
        """How the last window was solved, for the progress bar."""
        parts = []
        if state.adapt_state is not None:
            parts.append(f"step size {float(state.adapt_state.step_size):.2e}")
        if int(state.i) > self.num_adaptive_steps(state.plan.num_warmup):
            status = Status(int(state.solve.status)).name.lower().replace("_", " ")
            parts.append(f"{int(state.solve.num_iterations)} iterations, {status}")
        parts.append(f"acc. prob={float(state.mean_accept_prob):.2f}")
        return ". ".join(parts)

    def init(
        self,
        rng_key: Any,
        num_warmup: int,
        init_params: Any = None,
        model_args: tuple = (),
        model_kwargs: dict | None = None,
    ) -> ParallelState:
        """The state to begin with; a batch of them if a batch of keys comes, of vectorized chains.

        Raises:
            ValueError: for a model without latent sites, and for an ``init_params`` that is
                missing, does not fit the model or has no finite density.
            RuntimeError: from NumPyro, where it finds no valid start.
        """
        model_kwargs = NO_ARGUMENTS if model_kwargs is None else model_kwargs
        run = self._run
        if run is None or not run.is_of(model_args, model_kwargs, num_warmup):
            run = Run(model_args, model_kwargs, num_warmup)
            if not any_traced((rng_key, model_args, model_kwargs)):
                self._run = run
        state = begin(
            self, rng_key, num_warmup, init_params, model_args, model_kwargs, run.compiled
        )
        if has_settled(state.warmup):
            self.warn_of_adapted(state)
        return with_choice(self, state, is_prng_key(rng_key), run)

    def sample(
        self, state: ParallelState, model_args: tuple, model_kwargs: dict | None
    ) -> ParallelState:
        """The next state, of one chain or of a batch of them."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        sample = functools.partial(next_state, self)
        if not is_prng_key(state.rng_key):
            sample = jax.vmap(sample, in_axes=(0, None, None))
        return one_matrix_at_a_time(sample)(state, model_args, model_kwargs)

    def postprocess_fn(self, model_args: tuple, model_kwargs: dict | None) -> Callable:
        if self._postprocess_fn is None:
            return identity
        return self._postprocess_fn(*model_args, **({} if model_kwargs is None else model_kwargs))

    def __getstate__(self) -> dict[str, Any]:
        # Made anew by `init`; closures do not pickle.
        dropped = {"_sample_fn": None, "_potential_fn_gen": None, "_postprocess_fn": None}
        return self.__dict__ | dropped | {"_warned": set(), "_run": None}

    # How.

    def start(self, rng_key, init_params, model_args, model_kwargs):
        """Unconstrained values to start from; keeps the functions derived from the model."""
        if self._model is None:
            return given(init_params)
        info = find_start(
            self._model, rng_key, self._init_strategy, self.needs_gradient, self._forward_mode,
            model_args, model_kwargs,
        )  # fmt: skip
        self._potential_fn_gen, self._postprocess_fn = info.potential_fn, info.postprocess_fn
        return chosen_start(init_params, info.param_info.z)

    def target(self, model_args: tuple, model_kwargs: dict) -> Callable:
        """The potential for these arguments, never for those that `init` had.

        It is under `jit`, because a solve evaluates it in many places and the model should be
        traced only once.
        """
        if not self._forward_mode:
            return jax.jit(self._potential(model_args, model_kwargs))

        def potential_fn(z, arguments):
            return self._potential(*arguments)(z)

        return jax.jit(with_forward_gradient(potential_fn, (model_args, model_kwargs)))

    def _potential(self, model_args, model_kwargs):
        if self._potential_fn is not None:
            return self._potential_fn
        assert self._potential_fn_gen is not None, "`init` must be called before `sample`."
        return self._potential_fn_gen(*model_args, **model_kwargs)
