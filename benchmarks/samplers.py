"""What a user would run in place of a parallel solve, and the solve itself, behind one interface.

All sample a log density of a vector; each comes with the warm-up that its library gives it.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax

import parallel_mcmc as pm

NUM_WARMUP = 1_000
"""Of one chain: the default of the field."""

NUM_WARMUP_ENSEMBLE = 400
"""Of many chains that adapt together."""

SPREAD = 0.1
"""Standard deviation of where the chains start around the given vector."""


class Target(NamedTuple):
    """A log density of a vector, and a vector to start near."""

    logdensity_fn: Callable[[Any], Any]
    start: Any

    def starts(self, chains: int, rng_key: Any) -> Any:
        return self.start + SPREAD * jax.random.normal(rng_key, (chains, self.start.size))


class Sampler(NamedTuple):
    """Two functions that can be called again with another key.

    Attributes:
        warmup: ``rng_key -> (state, gradients)``.
        sample: ``(rng_key, state, T) -> (draws, gradients)``, draws of shape ``(chains, T, D)``.
        num_warmup: steps of the warm-up.
        solver: the parallel solver once it has run, "none" of other libraries.
    """

    warmup: Callable[[Any], tuple[Any, Any]]
    sample: Callable[[Any, Any, int], tuple[Any, Any]]
    num_warmup: int
    solver: Callable[[], str] = lambda: "none"


def under_numpyro(
    mcmc_class: type, kernel: Any, target: Target, chains: int, collect_warmup: bool
) -> tuple[Callable, Callable]:
    """Warm-up ``rng_key -> class`` and run ``(rng_key, state, T) -> class`` of a NumPyro kernel."""
    field = "num_steps" if collect_warmup else "adapt_state.step_size"

    @functools.cache
    def mcmc_for(T):
        return mcmc_class(
            kernel, num_warmup=NUM_WARMUP, num_samples=T, num_chains=chains,
            chain_method="vectorized", progress_bar=False,
        )  # fmt: skip

    def warmup(rng_key):
        mcmc = mcmc_for(1)
        key_start, key_run = jax.random.split(rng_key)
        init = target.starts(chains, key_start)
        mcmc.warmup(
            key_run, init_params=init[0] if chains == 1 else init, extra_fields=(field,),
            collect_warmup=collect_warmup,
        )  # fmt: skip
        return mcmc

    def sample(rng_key, state, T):
        mcmc = mcmc_for(T)
        mcmc.post_warmup_state = state
        mcmc.run(rng_key, extra_fields=(field,))
        return mcmc

    return warmup, sample


def numpyro_nuts(target: Target, chains: int) -> Sampler:
    """`numpyro.infer.NUTS` as it comes, chains vectorised; compiled as a whole.

    NumPyro's class by itself compiles anew for each run.
    """
    kernel = numpyro.infer.NUTS(potential_fn=lambda x: -target.logdensity_fn(x))
    run_warmup, run = under_numpyro(numpyro.infer.MCMC, kernel, target, chains, True)

    def num_steps(mcmc):
        return mcmc.get_extra_fields()["num_steps"].sum()

    @jax.jit
    def warmup(rng_key):
        mcmc = run_warmup(rng_key)
        return mcmc.post_warmup_state, num_steps(mcmc)

    @partial(jax.jit, static_argnums=2)
    def sample(rng_key, state, T):
        mcmc = run(rng_key, state, T)
        return mcmc.get_samples(group_by_chain=True), num_steps(mcmc)

    return Sampler(warmup, sample, NUM_WARMUP)


def parallel_hmc(target: Target, chains: int, solver: Any) -> Sampler:
    """`pm.ParallelHMC` with its defaults under `pm.MCMC`.

    An iteration evaluates all steps of all trajectories once: a pass of value, gradient and
    products with the Hessian counts as one gradient. In the warm-up each helper takes its own.
    """
    kernel = pm.ParallelHMC(potential_fn=lambda x: -target.logdensity_fn(x), solver=solver)
    run_warmup, run = under_numpyro(pm.MCMC, kernel, target, chains, False)
    last: list[pm.MCMC] = []

    def warmup(rng_key):
        state = run_warmup(rng_key).post_warmup_state
        found = state.warmup
        return state, np.sum(np.asarray(found.num_gradients) * np.where(found.settled, 64, 1))

    def sample(rng_key, state, T):
        last[:] = [mcmc] = [run(rng_key, state, T)]
        final = mcmc.last_state
        solve = final.solve
        evaluations = np.asarray(solve.num_iterations * T + solve.num_sequential_steps)
        leapfrogs = np.ceil(math.pi / 2 / np.asarray(final.adapt_state.step_size))
        draws = mcmc.get_samples(group_by_chain=True)
        return draws, np.sum(evaluations * np.clip(leapfrogs, 1, 256))

    return Sampler(warmup, sample, NUM_WARMUP, lambda: last[0].solve_settings()["solver"])


def vectorised(algorithm: Callable, num_gradients: Callable) -> Callable:
    """`Sampler.sample` for chains of a BlackJAX kernel, from their states and its parameters."""

    @partial(jax.jit, static_argnums=2)
    def sample(rng_key, state, T):
        states, parameters = state
        step = algorithm(**parameters).step

        def one_draw(states, rng_key):
            keys = jax.random.split(rng_key, len(states.logdensity))
            states, info = jax.vmap(step)(keys, states)
            return states, (states.position, num_gradients(info))

        _, (draws, gradients) = jax.lax.scan(one_draw, states, jax.random.split(rng_key, T))
        return draws.swapaxes(0, 1), gradients.sum()

    return sample


def integration_steps(info: Any) -> Any:
    return info.num_integration_steps.sum()


def blackjax_nuts(target: Target, chains: int) -> Sampler:
    """`blackjax.nuts`: one chain is adapted, and the others start at draws of its second half."""
    adaptation = blackjax.window_adaptation(blackjax.nuts, target.logdensity_fn)
    algorithm = partial(blackjax.nuts, target.logdensity_fn)

    @jax.jit
    def warmup(rng_key):
        key_start, key_run, key_choice = jax.random.split(rng_key, 3)
        start = target.starts(1, key_start)[0]
        (_, parameters), info = adaptation.run(key_run, start, NUM_WARMUP)
        second_half = info.state.position[NUM_WARMUP // 2 :]
        positions = jax.random.choice(key_choice, second_half, (chains,))
        states = jax.vmap(algorithm(**parameters).init)(positions)
        return (states, parameters), integration_steps(info.info) + chains

    return Sampler(warmup, vectorised(algorithm, integration_steps), NUM_WARMUP)


def blackjax_chees(target: Target, chains: int) -> Sampler:
    """`blackjax.dynamic_hmc` after `chees_adaptation` with a diagonal metric (Hoffman 2021)."""
    adaptation = blackjax.chees_adaptation(
        target.logdensity_fn, chains, mass_matrix_estimation="diagonal"
    )
    functions: dict[str, Callable] = {}

    def algorithm(**parameters):
        return blackjax.dynamic_hmc(target.logdensity_fn, **parameters, **functions)

    @jax.jit
    def warmup(rng_key):
        key_start, key_run = jax.random.split(rng_key)
        positions = target.starts(chains, key_start)
        (states, parameters), info = adaptation.run(
            key_run, positions, 0.1, optax.adam(0.05), NUM_WARMUP_ENSEMBLE
        )
        for name in ("next_random_arg_fn", "integration_steps_fn"):
            functions[name] = parameters.pop(name)
        return (states, parameters), integration_steps(info.info)

    return Sampler(warmup, vectorised(algorithm, integration_steps), NUM_WARMUP_ENSEMBLE)


def blackjax_meads(target: Target, chains: int) -> Sampler:
    """`blackjax.ghmc` after `meads_adaptation` (Hoffman and Sountsov 2022): a gradient a step."""
    adaptation = blackjax.meads_adaptation(target.logdensity_fn, chains)
    algorithm = partial(blackjax.ghmc, target.logdensity_fn)

    @jax.jit
    def warmup(rng_key):
        key_start, key_run = jax.random.split(rng_key)
        positions = target.starts(chains, key_start)
        state, _ = adaptation.run(key_run, positions, NUM_WARMUP_ENSEMBLE)
        return tuple(state), jnp.asarray(chains * NUM_WARMUP_ENSEMBLE)

    return Sampler(warmup, vectorised(algorithm, lambda info: chains), NUM_WARMUP_ENSEMBLE)


SAMPLERS: dict[str, tuple[Callable[[Target, int], Sampler], tuple[int, ...]]] = {
    "ParallelHMC": (partial(parallel_hmc, solver=pm.auto("gpu", max_iterations=500)), (1, 4)),
    "ParallelHMC, step by step": (partial(parallel_hmc, solver=pm.sequential()), (1, 4)),
    "NumPyro NUTS": (numpyro_nuts, (1, 4)),
    "BlackJAX NUTS": (blackjax_nuts, (64, 512, 4_096)),
    "BlackJAX ChEES-HMC": (blackjax_chees, (64, 512, 4_096)),
    "BlackJAX MEADS": (blackjax_meads, (64, 512, 4_096)),
}
"""How to build each sampler, and for how many chains it runs."""
