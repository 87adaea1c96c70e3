"""What the kernels for `numpyro.infer.MCMC` have in common.

NumPyro's `MCMC`, unmodified, calls `init` once and `sample` once per draw. Here a call during the
warm-up takes a step and adapts; a call after it hands out the next draw of a window that was
solved in parallel. Both are loops that run once or not at all, rather than conditions: a batched
`lax.cond` runs both branches at every draw, and that would be a solve.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import identity, is_prng_key

from parallel_mcmc._core.auto import Auto, Choice, any_traced, choose, compares
from parallel_mcmc._core.diagnostics import unknown
from parallel_mcmc._core.keys import check_keys
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._core.linearize import Ability
from parallel_mcmc._core.programs import within_memory
from parallel_mcmc._core.report import Status
from parallel_mcmc._core.rows import either
from parallel_mcmc._core.solvers import Solver
from parallel_mcmc._core.windows import check_window, run_info
from parallel_mcmc._mcmc.trace import settings_of
from parallel_mcmc._mcmc.transition import ability_of
from parallel_mcmc._numpyro.fingerprint import fingerprint
from parallel_mcmc._numpyro.forward import with_forward_gradient
from parallel_mcmc._numpyro.helpers import (
    Helped,
    HelpersPlan,
    has_settled,
    settle,
    warn_of_helpers,
    without_helpers,
)
from parallel_mcmc._numpyro.pilot import Run, with_choice
from parallel_mcmc._numpyro.start import check_finite, chosen_start, find_start, given
from parallel_mcmc._numpyro.window import (
    Buffer,
    Chain,
    Chosen,
    ParallelState,
    Plan,
    advanced,
    first_step,
    is_stale,
    length_of,
    popped,
    refilled,
    solve_steps,
    start_of,
    warn_once,
)

WINDOW = 1000
"""Draws in a window of the unmodified `MCMC`, which does not tell a kernel how many it wants."""

NO_ARGUMENTS: dict[str, Any] = {}
"""Of a model without, the same for all chains of a run: see `pilot.Run`."""

SEQUENTIAL_WINDOW = 32
"""The same where a solver takes one step after the other, and a window gains nothing."""


class ParallelKernel(MCMCKernel):
    """A NumPyro kernel whose draws are solved in parallel; subclasses say which.

    Everything that changes along a chain is in its state. The kernel itself is changed by
    `init` alone, which keeps the functions that NumPyro derives from the model.
    """

    needs_gradient = True
    """Whether a start needs a finite gradient, too."""

    needs_density = True
    """Whether there must be a model or a potential."""

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
        """Of what the warm-up of one chain or of several has led to."""

    def adapt_init(
        self, z: Any, rng_key: Any, num_warmup: int, potential_fn: Callable, helped: Helped | None
    ) -> Any:
        """What the warm-up adapts, before its steps."""
        return None

    def adapt_update(self, state: ParallelState, potential_fn: Callable) -> Any:
        """The same after a step of the warm-up that led to ``state``."""
        return state.adapt_state

    def settings(self, state: ParallelState, chosen: Chosen | None = None) -> dict[str, Any]:
        """How a chain is solved; ``chosen`` is from `options`, by default for a buffer."""
        x = state.x[0] if state.x.ndim > 1 else state.x
        choice = (chosen or self.options_of(state.plan, x)).choice
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
        return ("z", "diverging")

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
        """The state to begin with; of vectorized chains, which come with a batch of keys, a batch.

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
        state = self.begin(rng_key, num_warmup, init_params, model_args, model_kwargs, run.compiled)
        if has_settled(state.warmup):
            self.warn_of_adapted(state)
        return with_choice(self, state, is_prng_key(rng_key), run)

    def begin(
        self,
        rng_key: Any,
        num_warmup: int,
        init_params: Any,
        model_args: tuple,
        model_kwargs: dict,
        compiled: Callable,
        num_draws: int | None = None,
    ) -> ParallelState:
        """`init`, as one program; ``compiled(name, run, args, kwargs)`` makes ``run`` one.

        ``num_draws`` as in `plan_of_helpers`.
        """
        one = is_prng_key(rng_key)
        keys = jax.random.split(rng_key) if one else jax.vmap(jax.random.split, out_axes=1)(rng_key)
        z = self._start(keys[1], init_params, model_args, model_kwargs)
        z = jax.tree.map(jnp.asarray, z)
        first = z if one else jax.tree.map(lambda leaf: leaf[0], z)
        plan = self.plan_of_helpers(first, num_warmup, init_params is not None, num_draws)
        if plan is None and num_draws is not None:
            raise ValueError(
                "thinning='auto' is found by the helpers of a warm-up, and with these settings of "
                "the kernel or of num_warmup there are none; give a number of steps."
            )
        if plan is not None and init_params is not None:  # before helpers begin elsewhere
            at_start = self.target(model_args, model_kwargs)
            check_finite((at_start if one else jax.vmap(at_start))(z))

        def run(values, args, kwargs):
            def init_one(z, rng_key):
                return self._init_state(z, rng_key, num_warmup, plan, args, kwargs)

            return (init_one if one else jax.vmap(init_one))(*values)

        program = compiled(("init", one, num_warmup, str(plan)), run, model_args, model_kwargs)
        with within_memory():
            state = program((z, keys[0]))
        self._sample_fn = self._sample_one
        self._warned.clear()
        if plan is not None:
            warn_of_helpers(state.warmup, first)
        elif init_params is not None:
            check_finite(state.potential_energy)
        return state

    def sample(
        self, state: ParallelState, model_args: tuple, model_kwargs: dict | None
    ) -> ParallelState:
        """The next state, of one chain or of a batch of them."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        if is_prng_key(state.rng_key):
            sample = self._sample_one
        else:
            sample = jax.vmap(self._sample_one, in_axes=(0, None, None))
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

    def _start(self, rng_key, init_params, model_args, model_kwargs):
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

        Under `jit`, as a solve evaluates it in many places and the model is to be traced once.
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

    def _init_state(self, z, rng_key, num_warmup, plan, model_args, model_kwargs):
        key_helpers = jax.random.fold_in(rng_key, 3)  # the next three may be those of 0, 1, 2
        rng_key, key_adapt, key_init = jax.random.split(rng_key, 3)
        potential_fn, helped = self.target(model_args, model_kwargs), None
        if plan is not None:
            helped = settle(potential_fn, z, key_helpers, num_warmup, plan)
            z = helped.z
        adapt_state = self.adapt_init(z, key_adapt, num_warmup, potential_fn, helped)
        chain = self.chain(potential_fn, z, adapt_state, (model_args, model_kwargs))
        x = jax.jit(lambda z: start_of(chain, z, key_init))(z)
        draws = jax.eval_shape(lambda: first_step(chain, z, rng_key, jnp.zeros((), int))[1])
        # Traced where it matters alone, as that takes as long as a compilation may.
        what = Ability.DERIVATIVES
        if compares(self.solver):
            what = ability_of(chain.transition, jax.eval_shape(chain.transition.unravel, x))
        choice, length = self.options(x, None, what)
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
            predictability=unknown(x.dtype) if self.diagnose else None,
            warmup=without_helpers(x.dtype) if helped is None else helped.warmup,
            solve=run_info(jnp.ones(1, bool), x.dtype)._replace(
                num_sequential_steps=jnp.zeros((), jnp.int32)
            ),
            x=x,
            buffer=Buffer(empty, jnp.full((), length, int), rng_key, jnp.zeros((), jnp.uint32)),
            plan=Plan(num_warmup, what),
        )

    def options_of(self, plan: Plan, x: Any) -> Chosen:
        """Of a chain that hands out draws of a buffer."""
        if plan.options is None:
            return self.options(x, None, plan.able)
        if self._run is not None and self._run.chosen and self._run.chosen.options == plan.options:
            return self._run.chosen
        solver, window = plan.options.solver, plan.options.window or WINDOW
        return Chosen(Choice(solver, window, f"{solver.name}: by a pilot of another run"), window)

    def options(
        self,
        x: Any,
        num_steps: int | None,
        able: Ability,
        attempt: Callable | None = None,
        chains: int = 1,
    ) -> Chosen:
        """For a chain of vectors like ``x``.

        ``num_steps`` is the length of a chain that is solved as a whole, None for a buffer.
        """
        length = self.window or WINDOW
        choice = choose(
            self.solver, self.window, num_steps or length, x, attempt, chains, lambda: able
        )
        if num_steps is None and choice.solver.linearize is None and self.window is None:
            length = SEQUENTIAL_WINDOW
            choice = choice._replace(window=length)
        return Chosen(choice, length)

    def _sample_one(self, state, model_args, model_kwargs):
        potential_fn = self.target(model_args, model_kwargs)
        arguments = model_args, model_kwargs
        num_adaptive = self.num_adaptive_steps(state.plan.num_warmup)
        is_sampling = state.i >= num_adaptive
        data = fingerprint(arguments)

        def solve(carry):
            # What the solve depends on changes from turn to turn. XLA moves out of a loop, and so
            # into every call, what it finds to be the same in all turns.
            state, x, i = carry
            chain = self.chain(potential_fn, state.z, state.adapt_state, arguments)
            options, length = self.options_of(state.plan, x).options, length_of(state.buffer)
            options = options._replace(window=min(options.window or length, length))
            draws, info, predictability = solve_steps(
                chain, x, state.rng_key, i, length, options, self.diagnose
            )
            warn_once(self._warned, state.rng_key, info)
            state = refilled(state, draws, info, data)._replace(predictability=predictability)
            return state, draws.x[-1], i + length

        if num_adaptive:
            end = jnp.minimum(state.i + 1, num_adaptive)
            state = self.adapted(state, potential_fn, arguments, end)
        state, _, _ = jax.lax.while_loop(
            lambda carry: is_sampling & is_stale(carry[0], data), solve, (state, state.x, state.i)
        )
        # The buffer is not selected from, which would copy it.
        drawn = popped(state)
        used = jnp.where(is_sampling, drawn.buffer.used, state.buffer.used)
        buffer = state.buffer._replace(used=used)
        small = (drawn._replace(buffer=(), rng_key=()), state._replace(buffer=(), rng_key=()))
        chosen = either(is_sampling, *small)
        return chosen._replace(buffer=buffer, rng_key=state.rng_key)

    def adapted(
        self, state: ParallelState, potential_fn: Callable, model_args: tuple, end: Any
    ) -> ParallelState:
        """The steps of the warm-up up to ``end``, where helpers have not done it already."""
        buffer = state.buffer
        state = jax.lax.while_loop(
            lambda state: ~state.warmup.settled & (state.i < end),
            lambda state: self.adaptive_step(state, potential_fn, model_args),
            state._replace(buffer=()),
        )
        return state._replace(i=jnp.maximum(state.i, end), buffer=buffer)

    def adaptive_step(
        self, state: ParallelState, potential_fn: Callable, model_args: tuple
    ) -> ParallelState:
        """One step of the warm-up."""
        chain = self.chain(potential_fn, state.z, state.adapt_state, model_args)
        with jax.default_matmul_precision("highest"):  # as in a solve
            _, draw = first_step(chain, state.z, state.rng_key, state.i)
        state = advanced(state, draw)
        made = state.warmup.num_gradients + draw.num_steps.astype(jnp.int32) + 1
        state = state._replace(warmup=state.warmup._replace(num_gradients=made))
        state = state._replace(adapt_state=self.adapt_update(state, potential_fn))
        # In the coordinates of the metric as it is now.
        chain = self.chain(potential_fn, state.z, state.adapt_state, model_args)
        return state._replace(x=start_of(chain, state.z, None))
