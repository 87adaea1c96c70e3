"""Programs are compiled once, kept in a bounded number, and say what to do without memory."""

import gc
import logging
import re
import weakref
from pathlib import Path

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pm
from parallel_mcmc._cli import warmup
from parallel_mcmc._core.programs import NUM_KEPT, compiled

KEY, START = jax.random.key(0), jnp.zeros(2)


def logdensity_fn(x):
    return -jnp.sum(x**2) / 2


def decay(x, u):
    return x / 2 + u


WALK = pm.random_walk(logdensity_fn, 0.5)
RMH = blackjax.rmh(logdensity_fn, lambda key, x: x + jax.random.normal(key, x.shape))
INPUTS = jnp.ones((5, 2))

CALLS = {
    "sample": lambda: pm.sample(KEY, WALK, START, 5, solver=pm.sequential()),
    "run_inference_algorithm": lambda: pm.run_inference_algorithm(
        KEY, RMH, 5, initial_position=START, solver=pm.sequential()
    ),
    "solve": lambda: pm.solve(decay, START, INPUTS, solver=pm.jacobi()),
    "lyapunov_exponent": lambda: pm.lyapunov_exponent(decay, START, INPUTS, INPUTS),
    "warm-up": lambda: warmup.tuned_random_walk(warmup.Task(KEY, logdensity_fn, START, 1, 20)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_is_repeated_compiles_nothing(call, caplog):
    call()
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        call()
    assert not [message for message in caplog.messages if "Compiling" in message]


def test_programs_of_functions_built_anew_are_dropped_with_them():
    @compiled(num_static=1)
    def apply(f, x):
        return f(x)

    functions = []
    for i in range(NUM_KEPT + 4):
        f = lambda x, i=i: x + i  # noqa: E731
        assert int(apply(f, 1)) == 1 + i
        functions.append(weakref.ref(f))
    del f
    gc.collect()
    assert [f() is not None for f in functions] == [False] * 4 + [True] * NUM_KEPT


def test_no_program_is_kept_without_bound():
    # jit holds each value of its static arguments for the life of the process.
    package = Path(pm.__file__).parent
    found = [
        path.name for path in package.rglob("*.py") if re.search("static_arg", path.read_text())
    ]
    assert found == []


def test_programs_for_many_data_sets_are_kept_in_a_bounded_number():
    mcmc = pm.MCMC(pm.ParallelHMC(lambda y: None), num_warmup=0, num_samples=1)
    mcmc._cache_of_run = {}

    def run(x, args, kwargs):
        return x + args[0]

    for i in range(NUM_KEPT + 4):
        program = mcmc._compiled(("test",), run, (i,), {})
        again = mcmc._compiled(("test",), run, (0,), {})
        assert program(1) == 1 + i and again(1) == 1
        assert len(mcmc._cache) <= NUM_KEPT
    assert again is mcmc._compiled(("test",), run, (0,), {}), "what is used stays"


def observed(y):
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(x, 1), obs=y)


def observing(**options):
    kernel = pm.ParallelMALA(observed, step_size=0.1, solver=pm.sequential())
    return pm.MCMC(kernel, num_warmup=0, num_samples=1, progress_bar=False, **options)


def test_data_of_earlier_runs_are_dropped_with_their_programs():
    mcmc, held = observing(), []
    for i in range(NUM_KEPT // 2 + 2):  # of each data, one to begin and one for the draws
        y = np.full(3, i, np.float32)
        held.append(weakref.ref(y))
        mcmc.run(KEY, y)
    del y
    gc.collect()
    assert [y() is not None for y in held] == [False] * 2 + [True] * (NUM_KEPT // 2)


def test_with_jit_model_args_other_data_of_the_same_shape_compile_nothing(caplog):
    mcmc = observing(jit_model_args=True)
    mcmc.run(KEY, np.zeros(3, np.float32))
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        mcmc.run(KEY, np.ones(3, np.float32))
    assert not [message for message in caplog.messages if "Compiling" in message]


# More bytes of draws than there are addresses, so that no allocator says yes.
WIDE = jnp.zeros(2**17, "float32")


@pytest.mark.parametrize("solver", [pm.sequential(), pm.jacobi()], ids=lambda solver: solver.name)
def test_too_little_memory_is_a_sentence_that_names_the_window(solver):
    walk = pm.random_walk(logdensity_fn, 0.5)
    with pytest.raises(MemoryError, match="window=") as caught:
        pm.sample(KEY, walk, WIDE, 2**31 - 8, solver=solver)
    assert "\n" not in str(caught.value)
    assert "RESOURCE_EXHAUSTED" in str(caught.value.__cause__)


def test_a_solve_with_too_little_memory_says_so_too():
    with pytest.raises(MemoryError, match="window="):
        pm.solve(decay, jnp.zeros(2**25), jnp.ones(2**22, "int8"), solver=pm.sequential())


def test_a_run_of_mcmc_with_too_little_memory_says_so_too(monkeypatch):
    def run(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    mcmc = pm.MCMC(pm.ParallelHMC(logdensity_fn), num_warmup=1, num_samples=1)
    monkeypatch.setattr(mcmc, "_single_chain_mcmc", run)
    with pytest.raises(MemoryError, match="window="):
        mcmc.run(KEY)
