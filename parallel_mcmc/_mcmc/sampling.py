"""`sample`: several chains, each solved in parallel over its length."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from parallel_mcmc._core.auto import Auto, any_traced, choose
from parallel_mcmc._core.checks import check_window
from parallel_mcmc._core.keys import is_rbg
from parallel_mcmc._core.mesh import (
    CHAINS,
    any_elsewhere,
    check_mesh,
    check_no_diagnosis,
    check_no_rbg,
    check_no_store,
    check_no_window,
    mesh_of_chains,
    num_along_time,
    num_together,
    on_one_device,
    placed,
    time_axis,
)
from parallel_mcmc._core.report import check_on_failure, report
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._mcmc.chains import draw_chains, start_chains
from parallel_mcmc._mcmc.in_memory import draw_in_memory
from parallel_mcmc._mcmc.kernel import transition_at
from parallel_mcmc._mcmc.progress import showing
from parallel_mcmc._mcmc.stored import identity_of, sample_stored
from parallel_mcmc._mcmc.trace import Trace, settings_of
from parallel_mcmc._mcmc.transition import attempt_once, profile_of
from parallel_mcmc._store.interruption import equally_long


def sample(
    rng_key: Any,
    kernel: Any,
    initial_position: Any,
    num_samples: int,
    *,
    num_chains: int = 1,
    solver: Solver | Auto | None = None,
    window: int | None = None,
    on_failure: Literal["finish", "raise"] = "finish",
    progress_bar: bool = False,
    diagnose: bool = False,
    mesh: Mesh | None = None,
    store: Any = None,
) -> Trace:
    """Draw samples, all steps of all chains at once.

    Args:
        rng_key: typed or raw.
        kernel: from `hmc`, `mala`, `random_walk` or `gibbs`; a BlackJAX `SamplingAlgorithm`; or a
            `Transition` of your own.
        initial_position: where to start. With several chains every leaf leads with
            an axis of ``num_chains``.
        num_samples: draws per chain.
        num_chains: independent chains, each with its own key and its own solve.
        solver, window, on_failure: as in `parallel_mcmc.solve`.
        progress_bar: show the steps solved so far.
        diagnose: report the `Predictability` of each chain: ``trace.predictability.verdict()``
            says in words whether it is worth solving in parallel (arXiv:2508.16817). It costs one
            more pass, with D products with the kernel's Jacobian per step.
        mesh: devices to share the work, with axes named ``"chains"`` and ``"time"``, or one of
            them, whose sizes divide ``num_chains`` and ``num_samples``. Draws stay where they are
            made: see the docs, Many devices. By default several chains are spread over as many of
            the process's devices as divide their number, unless the key, the position or
            `jax.default_device` is on a device of your choice.
        store: path of a zarr store, such as ``"run.zarr"``. Draws, statistics and the states of the
            chains are written there after each ``window`` of steps, by default of up to 10,000, and
            memory does not grow with ``num_samples``. The same call continues where the last one
            ended, and may ask for more draws. Arrays of the `Trace` are zarr's, read when indexed;
            `open_store` opens them in ArviZ. Needs the extra ``zarr``.

    Returns:
        A `Trace`. The draws are those of the sequential sampler for the same key. Ctrl-C ends the
        run at the next window, or after a parallel solve, with a warning; the `Trace` then has the
        draws made so far: see the docs, Long runs.

    Raises:
        ValueError: for arguments that do not fit, a log density that is not finite at the start, or
            a kernel that draws with keys of kind `rbg`, whose draws differ for many steps at once.
        MemoryError: if the device has too little memory, with what to try.
        StoreError: if the store belongs to another run, is in use or damaged, or is not a store. It
            is left as it is.
        OSError: if a window cannot be written; those before it are there.

    One chain of a BlackJAX algorithm equals
    ``blackjax.util.run_inference_algorithm`` with the same key and ``initial_position``.

    >>> import blackjax, jax, jax.numpy as jnp, parallel_mcmc as pm
    >>> algorithm = blackjax.hmc(lambda x: -0.5 * jnp.sum(x["mu"] ** 2), 0.2, jnp.ones(2), 8)
    >>> start = {"mu": jnp.zeros((4, 2))}
    >>> trace = pm.sample(jax.random.key(0), algorithm, start, 100, num_chains=4)
    >>> trace.position["mu"].shape, trace.solve.status.tolist()
    ((4, 100, 2), [0, 0, 0, 0])

    Before a long run, a short one step by step says whether solving in parallel will pay:

    >>> kernel = pm.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.2, num_integration_steps=7)
    >>> trace = pm.sample(
    ...     jax.random.key(0), kernel, jnp.zeros(2), 400, solver=pm.sequential(), diagnose=True
    ... )
    >>> bool(trace.predictability.exponent[0] < -1)
    True
    """
    check_on_failure(on_failure)
    if num_samples < 1 or num_chains < 1:
        raise ValueError(
            f"num_samples and num_chains must be at least 1, got {num_samples} and {num_chains}."
        )
    check_window(window, num_samples)
    if store is not None and diagnose:
        raise ValueError("A run with a store is not diagnosed; diagnose a short run without.")
    if mesh is not None:
        mesh = check_mesh(mesh, num_samples, num_chains)
        check_no_window(window, num_samples, mesh)
        check_no_diagnosis(diagnose, mesh)
        check_no_store(store, mesh)
        check_no_rbg(rng_key)
    if time_axis(mesh) is not None:
        window = num_samples
    positions = check_position(initial_position, num_chains)
    if mesh is None:
        positions = on_one_device(positions)
    transition = transition_at(kernel, jax.tree.map(lambda leaf: leaf[0], positions))

    # One chain uses the key itself, so that it equals a run of BlackJAX with it.
    keys = rng_key[None] if num_chains == 1 else jax.random.split(rng_key, num_chains)
    pairs = jax.vmap(jax.random.split)(keys)
    with jax.default_matmul_precision("highest"):  # as in the solve
        states = start_chains(transition, positions, pairs[:, 1])
    check_start(states)
    if mesh is None and not is_rbg(rng_key):
        mesh = mesh_of_chains(num_chains, rng_key, initial_position, states)

    def attempt(solver, num_steps):
        key, state = jax.tree.map(lambda leaf: leaf[0], (pairs[:, 0], states))
        return attempt_once(transition, solver, num_steps, key, state)

    x = jax.eval_shape(jax.vmap(transition.ravel), states)
    chains = pairs[:, 0], states
    if mesh is not None:
        chains = placed(mesh, chains, CHAINS)

    def chosen(window, num_steps):
        return choose(
            solver,
            window,
            num_steps,
            jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
            None if any_traced((pairs, states)) or any_elsewhere(states) else attempt,
            num_together(mesh, num_chains),
            lambda: profile_of(transition, jax.tree.map(lambda leaf: leaf[0], states)),
            num_devices=num_along_time(mesh),
        )

    if store is not None:
        keys, start = chains

        def draw(choice, num_steps, states, begin):
            if mesh is not None:
                states = placed(mesh, states, CHAINS)
            return draw_chains(
                transition, choice.solver, choice.window, num_steps, False, False, mesh, keys,
                states, 0, begin,
            )[:-1]  # fmt: skip

        made_of = identity_of(transition, pairs[:, 0], states, positions, solver)
        trace = sample_stored(
            store, made_of, start, num_samples, window,
            lambda num_steps: chosen(None, num_steps), draw, progress_bar,
        )  # fmt: skip
    else:
        choice = chosen(window, num_samples)
        rows = num_samples
        is_plain = mesh is None and not diagnose and not any_traced((pairs, states))
        if choice.solver.linearize is None and is_plain:
            rows = equally_long(num_samples, progress_bar)
        tells = progress_bar and rows == num_samples

        with showing(num_chains * num_samples, progress_bar) as bar:

            def draw_window(num_steps, states, begin):
                return draw_chains(
                    transition, choice.solver, choice.window, num_steps, tells, diagnose, mesh,
                    chains[0], states, bar if tells else 0, begin,
                )  # fmt: skip

            position, stats, solve, predictability = draw_in_memory(
                draw_window, chains[1], rows, num_samples, bar
            )
        trace = Trace(position, stats, solve, settings_of(choice), predictability)
    report(trace.solve, on_failure, trace)
    return trace


def check_position(position: Any, num_chains: int) -> Any:
    """Positions as arrays that lead with the chains."""
    position = jax.tree.map(jnp.asarray, position)
    if num_chains == 1:
        return jax.tree.map(lambda leaf: leaf[None], position)
    for leaf in jax.tree.leaves(position):
        if leaf.shape[:1] != (num_chains,):
            raise ValueError(
                f"With num_chains={num_chains} every leaf of initial_position must lead with that "
                f"axis, got shape {leaf.shape}; give each chain its own start."
            )
    return position


def check_start(states: Any) -> None:
    logdensity = getattr(states, "logdensity", None)
    if logdensity is None or isinstance(logdensity, jax.core.Tracer):
        return
    for part in logdensity.addressable_shards:  # others are for other processes to look at
        begin = (part.index[0].start or 0) if part.index else 0
        bad = np.flatnonzero(~np.isfinite(part.data))
        if bad.size:
            raise ValueError(
                f"The log density is not finite at the initial position of chain {begin + bad[0]}; "
                "start inside the support."
            )
