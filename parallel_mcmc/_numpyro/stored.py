"""A run of `MCMC` with a store: windows of draws, each a run from the last state before it.

A window is drawn by a copy of the `MCMC` that has no store and shares its compiled programs, as a
user would by setting ``post_warmup_state`` to ``last_state``.
"""

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpyro.infer import MCMC as SequentialMCMC
from numpyro.util import is_prng_key

from parallel_mcmc._core.auto import auto
from parallel_mcmc._mcmc.progress import counting
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.state import ParallelState
from parallel_mcmc._store import identity
from parallel_mcmc._store.store import Store
from parallel_mcmc._store.windows import (
    StoredRun,
    Window,
    draw_in_windows,
    open_run,
    rows_of_window,
)

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.mcmc import MCMC

ARVIZ_NAMES = {
    "adapt_state.step_size": "step_size",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "potential_energy": "lp",
}
"""Fields of states, and what `arviz.from_numpyro` calls them; lp is minus the potential energy."""

PLAIN = (bool, int, float, str, tuple, type(None))
"""Values of options that are the same in every process."""

NO_OPTIONS = "solver", "window", "_run", "_sample_fn", "_potential_fn_gen", "_postprocess_fn"
"""What else a kernel has."""


class Arguments(NamedTuple):
    """Of `MCMC.run`."""

    rng_key: Any
    args: tuple
    kwargs: dict
    extra_fields: Any
    init_params: Any


class States:
    """What `MCMC` keeps of a run, ``(chains, draws, ...)``: read from its store when asked for."""

    def __init__(self, path: Any, sample_field: str, fields: tuple[str, ...]):
        self.path, self.sample_field, self.fields = path, sample_field, fields

    def read(self) -> dict[str, Any]:
        store = Store(self.path)
        stats = store.arrays("sample_stats")
        found: dict[str, Any] = {
            self.sample_field: {
                name: array[:] for name, array in sorted(store.arrays("posterior").items())
            }
        }
        for field in self.fields:
            name = ARVIZ_NAMES.get(field, field)
            if name in stats:
                sign = -1 if field == "potential_energy" else 1
                found[field] = sign * stats[name][:] if sign < 0 else stats[name][:]
        return found


def check_storable(kernel: Any, num_samples: int, thinning: int, has_state: bool) -> None:
    """Refuse what a store cannot hold, before anything long starts."""
    if not isinstance(kernel, ParallelKernel) or kernel.model is None:
        raise ValueError(
            "A store needs a kernel of this package with a model, such as pm.ParallelHMC(model)."
        )
    if num_samples % thinning:
        raise ValueError(
            f"With a store num_samples={num_samples} must be a multiple of thinning={thinning}."
        )
    if has_state:
        raise ValueError(
            "A run with a store warms up by itself and goes on from its own last state: call "
            "`run` alone."
        )


def run_stored(mcmc: "MCMC", path: Any, given: Arguments) -> States:
    """Run, or go on with, the chains of a store; sets what `MCMC.run` sets, but for the draws."""
    from parallel_mcmc._arviz import datasets_of, from_mcmc

    mcmc._args, mcmc._kwargs = given.args, given.kwargs  # as NumPyro's `run`, for ArviZ
    num_rows = mcmc.num_samples // mcmc.thinning
    like = template(mcmc, given)
    buffer = like.buffer

    def begin() -> ParallelState:
        part = part_of(mcmc, mcmc.num_samples)
        part.warmup(given.rng_key, *given.args, init_params=given.init_params, **given.kwargs)
        return part._last_state._replace(buffer=())

    def draw(state: ParallelState, number: int) -> Window:
        part = part_of(mcmc, rows * mcmc.thinning)
        part._warmup_state = state._replace(buffer=buffer)
        run_once(part, given._replace(rng_key=state.rng_key, init_params=None))
        for name in ("_chosen", "_settings", "_division"):
            setattr(mcmc, name, getattr(part, name))
        groups = datasets_of(from_mcmc(part, log_likelihood=False))
        return Window(part._last_state._replace(buffer=()), part._last_state.solve, groups)

    with Store(path) as store:
        made_of = identity_of(mcmc, like, given)
        num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(like.z))
        window = mcmc.sampler.window and max(1, mcmc.sampler.window // mcmc.thinning)
        rows = open_run(store, made_of) or rows_of_window(num_rows, num_bytes, window)
        with counting(mcmc.num_chains * num_rows, mcmc.progress_bar) as tell:
            run = StoredRun(
                made_of, begin, lambda: like._replace(buffer=()), draw,
                lambda draws: tell(mcmc.num_chains * draws),
            )  # fmt: skip
            stored = draw_in_windows(store, run, num_rows, rows)
        solve = stored.solve if mcmc.num_chains > 1 else jax.tree.map(lambda a: a[0], stored.solve)
        mcmc._last_state = stored.state._replace(buffer=buffer, solve=solve)
        if mcmc._settings is not None:
            mcmc._settings = mcmc._settings | {"store": str(store.path)}
            store.describe(described(mcmc))
    fields = (*mcmc._default_fields, *given.extra_fields)
    return States(store.path, mcmc._sample_field, tuple(f for f in fields if f != "z"))


def part_of(mcmc: "MCMC", num_samples: int) -> "MCMC":
    """A copy without a store, which shares compiled programs, for so many steps."""
    part = copy.copy(mcmc)
    part._store, part._stored, part.progress_bar, part.num_samples = None, None, False, num_samples
    part._states = part._states_flat = None
    return part


def run_once(part: "MCMC", given: Arguments) -> None:
    """NumPyro's `run` alone, without a report; the solver stays as it was chosen."""
    SequentialMCMC.run(
        part, given.rng_key, *given.args, extra_fields=given.extra_fields,
        init_params=given.init_params, **given.kwargs,
    )  # fmt: skip


def template(mcmc: "MCMC", given: Arguments) -> ParallelState:
    """A state like those of the run, without its warm-up; gives the kernel its functions, too."""
    part = part_of(mcmc, mcmc.num_samples)
    part.num_warmup, part._divides = 0, False
    part._set_collection_params(0, 0, 0, "sample")
    run_once(part, given)
    state = part._last_state
    plan = dataclasses.replace(state.plan, num_warmup=mcmc.num_warmup)
    return state._replace(plan=plan)


def identity_of(mcmc: "MCMC", like: ParallelState, given: Arguments) -> dict[str, Any]:
    """What must be the same for a stored run to go on."""
    kernel, arguments = mcmc.sampler, (given.args, given.kwargs)
    one = is_prng_key(like.rng_key)
    first = like if one else jax.tree.map(lambda leaf: leaf[0], like)

    def step(z, x, adapt_state, rng_key):
        chain = kernel.chain(kernel.target(*arguments), z, adapt_state, arguments)
        state = chain.transition.unravel(x)
        return chain.transition.step(state, chain.draw_input(rng_key, state))

    def constrained(z):
        return kernel.postprocess_fn(*arguments)(z)

    options = {
        name: repr(value) if isinstance(value, PLAIN) else identity.values(value)
        for name, value in vars(kernel).items()
        if name not in NO_OPTIONS and isinstance(value, (*PLAIN, np.ndarray, jax.Array))
    }
    strategy = getattr(kernel._init_strategy, "func", kernel._init_strategy)
    return {
        "num_chains": mcmc.num_chains,
        "num_warmup": mcmc.num_warmup,
        "thinning": "auto" if mcmc._divides else mcmc.thinning,
        "model, data or kernel": identity.program(
            step, first.z, first.x, first.adapt_state, first.rng_key
        )
        + identity.program(constrained, first.z),
        "option of the kernel": {**options, "init_strategy": strategy.__name__},
        "rng_key": identity.values(given.rng_key),
        "init_params": identity.values(given.init_params),
        "extra_fields": list(given.extra_fields),
        "solver": repr(kernel.solver or auto()),
    }


def described(mcmc: "MCMC") -> dict[str, Any]:
    """Attributes for the groups of the whole run."""
    from parallel_mcmc._arviz import attributes

    report = attributes(mcmc._last_state.solve, mcmc.solve_settings())
    return report | mcmc.critical_path()
