"""A run of `MCMC` with a store: windows of draws, each a run from the last state before it.

A window is drawn by a twin of the `MCMC` that has no store and shares its compiled programs, as a
user would by setting ``post_warmup_state`` to ``last_state``.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from numpyro.infer import MCMC as SequentialMCMC
from numpyro.util import is_prng_key

from parallel_mcmc._core.auto import auto
from parallel_mcmc._core.report import SolveInfo
from parallel_mcmc._mcmc.progress import note, showing
from parallel_mcmc._numpyro.bars import facts
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.state import ParallelState
from parallel_mcmc._store import identity
from parallel_mcmc._store.store import Store
from parallel_mcmc._store.windows import StoredRun, Window, check_names, draw_in_windows, rows_of

if TYPE_CHECKING:
    from parallel_mcmc._numpyro.mcmc import MCMC

ARVIZ_NAMES = {
    "adapt_state.step_size": "step_size",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "potential_energy": "lp",
}
"""Fields of states, and what `arviz.from_numpyro` calls them; lp is minus the potential energy."""

KNOWN_OTHERWISE = (
    "solver", "window", "_model", "_potential_fn", "_init_strategy", "_make_algorithm", "_blocks",
    "_run", "_warned", "_sample_fn", "_potential_fn_gen", "_postprocess_fn",
)  # fmt: skip
"""What else a kernel has: in the program of its step, or compared by itself, or of one process."""


class Arguments(NamedTuple):
    """The arguments of `MCMC.run`."""

    rng_key: Any
    args: tuple
    kwargs: dict
    extra_fields: Any
    init_params: Any


class States:
    """What `MCMC` keeps of a run, ``(chains, draws, ...)``: read from its store when asked for.

    Attributes:
        num_samples: steps after the warm-up; fewer than asked for where the run was interrupted.
    """

    def __init__(self, path: Any, sample_field: str, fields: tuple[str, ...], num_samples: int):
        self.path, self.sample_field, self.fields = path, sample_field, fields
        self.num_samples = num_samples

    def read(self) -> dict[str, Any]:
        store = Store(self.path)
        stats, draws = store.arrays("sample_stats"), store.arrays("posterior")
        found: dict[str, Any] = {
            self.sample_field: {name: array[:] for name, array in sorted(draws.items())}
        }
        for field in self.fields:
            name = ARVIZ_NAMES.get(field, field)
            if name in stats:
                value = stats[name][:]
                found[field] = -value if field == "potential_energy" else value
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
    """Run or continue the chains of a store; sets what `MCMC.run` sets, except the draws."""
    from parallel_mcmc._arviz import attributes, datasets_of, from_mcmc

    mcmc._args, mcmc._kwargs = given.args, given.kwargs  # as NumPyro's `run`, for ArviZ
    thinning, num_chains = mcmc.thinning, mcmc.num_chains
    num_rows = mcmc.num_samples // thinning
    like = template(mcmc, given)
    buffer = like.buffer
    made_of = identity_of(mcmc, like, given)

    def begin() -> ParallelState:
        part = part_of(mcmc, rows * thinning)
        part.warmup(given.rng_key, *given.args, init_params=given.init_params, **given.kwargs)
        return part._last_state._replace(buffer=())

    def choose(first: ParallelState) -> None:
        """Choose for all windows from the state before the first, so that it is always the same."""
        state = first._replace(buffer=buffer)
        mcmc._choose(state, rows * thinning, given.args, given.kwargs)
        assert mcmc._settings is not None
        mcmc._settings = mcmc._settings | {"store": str(path)}

    def draw(state: ParallelState, number: int, num_rows: int) -> Window:
        part = part_of(mcmc, num_rows * thinning)
        part._warmup_state = state._replace(buffer=buffer)
        run_once(part, given._replace(rng_key=state.rng_key, init_params=None))
        groups = datasets_of(from_mcmc(part, log_likelihood=False))
        if bar:
            note(bar, **facts([part._last_state]))
        return Window(part._last_state._replace(buffer=()), part._last_state.solve, groups)

    def whole(solve: SolveInfo, state: ParallelState) -> ParallelState:
        if num_chains == 1:
            solve = jax.tree.map(lambda leaf: leaf[0], solve)
        return state._replace(solve=solve, buffer=buffer)

    def described(solve: SolveInfo, state: ParallelState) -> dict[str, Any]:
        mcmc._last_state = whole(solve, state)
        return attributes(solve, mcmc.solve_settings()) | mcmc.critical_path()

    with Store(path) as store:
        num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(like.z))
        window = mcmc.sampler.window and max(1, mcmc.sampler.window // thinning)
        rows = rows_of(store, made_of, num_bytes, window)
        with showing(num_chains * num_rows, mcmc.progress_bar) as bar:
            run = StoredRun(
                made_of, rows, begin, lambda: like._replace(buffer=()), choose, draw, described,
                lambda draws: note(bar, num_chains * draws),
            )  # fmt: skip
            stored = draw_in_windows(store, run, num_rows)
    mcmc._last_state = whole(stored.solve, stored.state)
    fields = (*mcmc._default_fields, *given.extra_fields)
    kept = tuple(field for field in fields if field != mcmc._sample_field)
    return States(store.path, mcmc._sample_field, kept, stored.num_draws * thinning)


def part_of(mcmc: "MCMC", num_samples: int) -> "MCMC":
    """A twin without a store, for so many steps; it shares the rest, compiled programs too."""
    part = object.__new__(type(mcmc))
    part.__dict__.update(mcmc.__dict__)  # `copy.copy` would leave the programs out
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
    """What must be the same for a stored run to go on.

    Raises:
        ValueError: for sites whose names zarr cannot hold.
        StoreError: for what cannot be compared.
    """
    kernel, arguments = mcmc.sampler, (given.args, given.kwargs)
    first = like if is_prng_key(like.rng_key) else jax.tree.map(lambda leaf: leaf[0], like)

    def step(z, x, adapt_state, rng_key):
        chain = kernel.chain(kernel.target(*arguments), z, adapt_state, arguments)
        state = chain.transition.unravel(x)
        return chain.transition.step(state, chain.draw_input(rng_key, state))

    def constrained(z):
        return kernel.postprocess_fn(*arguments)(z)

    check_names(jax.eval_shape(constrained, first.z))
    made = first.z, first.x, first.adapt_state, first.rng_key
    options = {
        name: identity.option(value)
        for name, value in vars(kernel).items()
        if name not in KNOWN_OTHERWISE
    }
    return {
        "num_chains": mcmc.num_chains,
        "num_warmup": mcmc.num_warmup,
        "thinning": "auto" if mcmc._divides else mcmc.thinning,
        "model, data or kernel": identity.program(step, *made)
        + identity.program(constrained, first.z),
        "option of the kernel": options,
        "init_strategy": identity.option(kernel._init_strategy),
        "rng_key": identity.values(given.rng_key),
        "init_params": identity.values(given.init_params),
        "extra_fields": list(given.extra_fields),
        "solver": repr(kernel.solver or auto()),
    }
