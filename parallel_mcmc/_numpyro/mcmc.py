"""`MCMC`: NumPyro's interface, without its loop over draws.

`numpyro.infer.MCMC` asks for one draw after another, at a few microseconds each even if they are
already solved. Here the chain after the warm-up is one solve, and one vectorised call of
`postprocess_fn` maps its draws to the supports of their sites.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.sharding import Mesh
from numpyro.util import is_prng_key

from parallel_mcmc._core.auto import any_traced
from parallel_mcmc._core.mesh import CHAINS, check_no_rbg, num_along_time, num_together, placed
from parallel_mcmc._core.programs import within_memory
from parallel_mcmc._core.report import report
from parallel_mcmc._mcmc.progress import showing
from parallel_mcmc._numpyro import summary
from parallel_mcmc._numpyro.bars import warmed_up
from parallel_mcmc._numpyro.choice import choice_of_run
from parallel_mcmc._numpyro.helpers import has_settled
from parallel_mcmc._numpyro.in_memory import Begun, kept_unless_replaced, run_in_memory, window_of
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.on_mesh import checked
from parallel_mcmc._numpyro.phases import phase
from parallel_mcmc._numpyro.programs import program
from parallel_mcmc._numpyro.schedule import division_of, joined, planned, remaining_warmup
from parallel_mcmc._numpyro.start import begin
from parallel_mcmc._numpyro.stored import Arguments, States, check_storable, run_stored
from parallel_mcmc._numpyro.window import ADVICE


class MCMC(summary.Summarised):
    """`numpyro.infer.MCMC`, with no loop over the draws of a kernel of this package.

    The same arguments, methods and results, and the same draws for the same key. NumPyro's own
    kernels run as they do there.

    Three things are added: `print_summary` ends with lines on how the chains were solved and on the
    gradients that had to follow one another; a chain that had to be finished step by step raises a
    `ConvergenceWarning`, once per run; and thinning may be found in the warm-up. A progress bar for
    each phase, "warm-up" and "sampling", shows the steps made or solved, the iterations, and the
    step size, mean acceptance and divergences of each chain.

    For many data sets of one shape give ``jit_model_args=True`` and use one `MCMC`: nothing is
    compiled after the first run. Without it each data set has three or four programs of its own,
    some 30 MB, of which the last 16 are kept.

    Args:
        thinning: as in NumPyro, or ``"auto"`` for a `ParallelHMC` that helpers warm up. They
            measure how perturbations grow over its trajectory, and over a half, a fourth and an
            eighth of it. The longest of these with which the chain can be expected to be solved in
            parallel is taken. With halves every second step is a draw, with fourths every fourth,
            and so on: ``num_samples`` draws are returned, for as many leapfrog steps as before. If
            whole trajectories will do, or the helpers do not settle, the draws are those of
            ``thinning=1``. The first chain decides. Costs 20 trajectories, beyond ``num_warmup``,
            and memory for all steps; see `division`.
        mesh: devices to solve on, with axes named ``"chains"`` and ``"time"``, or one of them,
            whose sizes divide ``num_chains`` and the number of draws: see the docs, Many devices.
            The warm-up is on one device. For one chain, or for ``chain_method="vectorized"``.
        store: path of a zarr store, such as ``"run.zarr"``: `run` writes draws, statistics and the
            states of the chains there after each window (the kernel's ``window``, or up to 10,000
            draws), and memory does not grow with ``num_samples``. The same `run` continues where
            the last one ended, does not repeat a finished warm-up, and may ask for more draws.
            `get_samples` reads the store, `open_store` opens it in ArviZ. Needs the extra ``zarr``.
        others: as in `numpyro.infer.MCMC`.

    Raises:
        StoreError: if the store belongs to another run, is in use or damaged, or is not a store. It
            is left as it is.
        OSError: if a window cannot be written; those before it are there.
        ValueError: for ``thinning="auto"`` with another kernel, without helpers, or with chains in
            parallel on several devices.

    >>> import jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> mcmc = pm.MCMC(
    ...     pm.ParallelHMC(model), num_warmup=200, num_samples=500, num_chains=2,
    ...     chain_method="vectorized", progress_bar=False,
    ... )  # fmt: skip
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples(group_by_chain=True)["x"].shape
    (2, 500, 2)
    """

    _cache_of_run: dict[tuple, Callable]  # programs that hold what cannot be compared
    _warmup_states: dict[str, Any] | None = None
    _warmup_report: tuple[dict[str, Any], Any] | None = None
    _store: Any = None
    _stored: States | None
    _last_state: Any = None
    _begun: list[Begun] | None = None  # chains whose draws are for `draw_all` to make
    _in_memory: dict[str, Any] | None = None

    def __init__(
        self,
        sampler: Any,
        *,
        num_warmup: int,
        num_samples: int,
        num_chains: int = 1,
        thinning: int | Literal["auto"] = 1,
        mesh: Mesh | None = None,
        store: Any = None,
        **others: Any,
    ):
        self._divides = thinning == "auto"
        if self._divides and getattr(sampler, "trajectory_to_divide", None) is None:
            raise ValueError(
                "thinning='auto' divides the trajectories of a pm.ParallelHMC by their length; for "
                f"this {type(sampler).__name__} give a number of steps."
            )
        super().__init__(
            sampler, num_warmup=num_warmup, num_samples=num_samples, num_chains=num_chains,
            thinning=1 if self._divides else thinning, **others,
        )  # fmt: skip
        self._store = store
        self._mesh = None if mesh is None else checked(mesh, self)
        if store is not None:
            check_storable(sampler, num_samples, self.thinning, False)

    def warmup(self, rng_key: Any, *args: Any, collect_warmup: bool = False, **kwargs: Any) -> None:
        """As `numpyro.infer.MCMC.warmup`; keeps what it collects for `pm.to_inference_data`."""
        if self._store is not None:
            check_storable(self.sampler, self.num_samples, self.thinning, True)
        super().warmup(rng_key, *args, collect_warmup=collect_warmup, **kwargs)
        if collect_warmup:
            summary.warn_of_rows_without_draws(self._last_state)
        self._warmup_states = self._states if collect_warmup else None
        if isinstance(self.sampler, ParallelKernel):
            self._warmup_report = self.solve_settings(), self._last_state.solve

    @within_memory()
    def run(
        self,
        rng_key: Any,
        *args: Any,
        extra_fields: Any = (),
        init_params: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `numpyro.infer.MCMC.run`; warns of chains that were finished step by step.

        It also warns of chains whose trajectories `ParallelHMC` has cut short. Ctrl-C after the
        warm-up ends the run at the next window, or after a parallel solve, with the draws made so
        far and a warning: see the docs, Long runs. A second one raises `KeyboardInterrupt`.
        """
        if self._mesh is not None:
            check_no_rbg(rng_key)
        if self._warmup_state is None:
            self._warmup_states = None  # a chain of its own begins
        self._cache_of_run = {}
        try:
            given = Arguments(rng_key, args, kwargs, extra_fields, init_params)
            if self._store is None:
                with kept_unless_replaced(self):
                    self._chosen = self._settings = self._division = None
                    run_in_memory(self, given)
            else:
                self._chosen = self._settings = self._division = None
                check_storable(
                    self.sampler, self.num_samples, self.thinning, self._warmup_state is not None
                )
                self._states, self._states_flat = None, None
                self._stored = run_stored(self, self._store, given)
        finally:
            self._cache_of_run = {}
        if isinstance(self.sampler, ParallelKernel):
            self.sampler.divided(self._division or 1).warn_of_adapted(self._last_state)
            report(self._last_state.solve, "finish", None, ADVICE)

    @property
    def _states(self) -> dict[str, Any] | None:
        """Fields of all draws, as NumPyro keeps them; of a stored run read when first used."""
        if self._in_memory is None and self._stored is not None:
            self._in_memory = self._stored.read()
        return self._in_memory

    @_states.setter
    def _states(self, states: dict[str, Any] | None) -> None:
        self._in_memory = states

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_chosen": None}

    def transfer_states_to_host(self) -> None:
        """As `numpyro.infer.MCMC.transfer_states_to_host`, with the states of the warm-up."""
        super().transfer_states_to_host()
        self._warmup_states = jax.device_get(self._warmup_states)

    def _single_chain_mcmc(self, init, args, kwargs, collect_fields, remove_sites):
        kernel = self.sampler
        if not isinstance(kernel, ParallelKernel):
            return super()._single_chain_mcmc(init, args, kwargs, collect_fields, remove_sites)
        rng_key, state, init_params = init
        fresh = state is None
        if fresh or kernel._sample_fn is None:
            num_warmup = self.num_warmup if fresh else 0  # else for the kernel's functions alone
            new = begin(
                kernel, rng_key, num_warmup, init_params, args, kwargs, self._compiled,
                self.num_samples if self._divides and fresh else None,
                self.progress_bar and not any_traced(rng_key),
            )  # fmt: skip
            state = new if fresh else state
        one = is_prng_key(rng_key)
        division = self._divided_by(state)
        num_adaptive = remaining_warmup(kernel, state, fresh)
        warm, main, size = planned(
            self._collection_params, self.thinning, num_adaptive, division, collect_fields,
            remove_sites,
        )  # fmt: skip

        parts = []
        if warm.num_steps and not warm.kept and has_settled(state.warmup):
            state = state._replace(i=state.i + warm.num_steps)
        elif warm.num_steps:
            adapt = self._program("warm-up", one, warm, None, args, kwargs)
            collected, state = warmed_up(
                adapt, state, warm.num_steps, 1 if one else self.num_chains,
                self.progress_bar and not any_traced(state), not warm.kept,
            )  # fmt: skip
            parts.append(collected)
        if main.num_steps:
            if self._chosen is None:
                self._choose(state, main.num_steps // division, args, kwargs)
            assert self._chosen is not None
            options, window = self._chosen.options, main
            draws_later = self._begun is not None and not any_traced(state)
            if draws_later:
                window = window_of(main, kernel, options, self.progress_bar)
            shows = self.progress_bar and window == main
            run = self._program("solve", one, window, options, args, kwargs, shows)
            if self._begun is not None and draws_later:
                self._begun.append(Begun(state, parts, collect_fields, size, main, window, run))
                return {}, ()
            shown = shows and not any_traced(state)
            chains = 1 if one else self.num_chains
            if self._mesh is not None:
                state = placed(self._mesh, state, *(() if one else (CHAINS,)))
            with showing(chains * main.num_steps, shown) as bar:
                collected, state = run((state, bar))
                if shown:
                    jax.block_until_ready(state)
            parts.append(collected)
        if not parts:  # of a run of no steps, as NumPyro makes to compile
            parts = [self._program("none", one, main, None, args, kwargs)((state, 0))[0]]
        return dict(zip(collect_fields, joined(parts, size), strict=True)), state

    def _divided_by(self, state):
        """Steps that make a draw, as found by the helpers of the first chain of this run."""
        if self._divides and self._division is None:
            self._division = division_of(state.warmup)
        return self._division or 1

    def _choose(self, state, num_steps, args, kwargs):
        """The solver of this run, of so many undivided steps from ``state`` on."""
        division, one = self._divided_by(state), is_prng_key(state.rng_key)
        self._chosen = choice_of_run(
            self.sampler.divided(division), state, one, num_together(self._mesh, self.num_chains),
            num_steps * division, args, kwargs, self._compiled, num_along_time(self._mesh),
            self._division,
        )  # fmt: skip
        self._settings = self.sampler.settings(state, self._chosen)
        if self._divides:
            self._settings["thinning"] = division

    def _program(self, name, one, collect, options, args, kwargs, shows_progress=False):
        """The compiled function ``(state, bar) -> (collected, state)``, kept for the next run."""
        solves = name == "solve"
        kernel = self.sampler.divided(self._division or 1) if solves else self.sampler
        mesh = self._mesh if solves else None
        run = phase(kernel, one, collect, options, shows_progress, self.postprocess_fn, mesh)
        key = name, one, collect, options, shows_progress, self._division
        return self._compiled(key, run, args, kwargs)

    def _compiled(self, name: tuple, run: Callable, args: tuple, kwargs: dict) -> Callable:
        caches = self._cache, self._cache_of_run
        return program(caches, self._jit_model_args, name, run, args, kwargs)
