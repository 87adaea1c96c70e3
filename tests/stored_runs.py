"""A small run with a store, in this process and in others."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pm

WINDOW = 20
KERNEL = pm.random_walk(lambda x: -0.5 * jnp.sum(x["a"] ** 2) - x["b"] ** 4, 0.7)
START = {"a": jnp.ones((2, 3)), "b": jnp.ones(2)}


def run(num_samples, store=None, **changed):
    arguments = {"solver": pm.sequential(), "num_chains": 2, "window": WINDOW, "store": store}
    made = {"kernel": KERNEL, "start": START, "seed": 0, **changed}
    arguments |= {name: made.pop(name) for name in tuple(made) if name in arguments}
    return pm.sample(
        jax.random.key(made["seed"]), made["kernel"], made["start"], num_samples, **arguments
    )


def draws_of(trace):
    """All that a run returns, by name."""
    found = {name: np.asarray(value) for name, value in trace.position.items()}
    return found | {name: np.asarray(value) for name, value in trace.sample_stats.items()}


def assert_equal(trace, other):
    ours, theirs = draws_of(trace), draws_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def files_of(path):
    """Contents of all files by path, to see that nothing has changed."""
    return {file: file.read_bytes() for file in sorted(Path(path).rglob("*")) if file.is_file()}


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import stored_runs
print("ready", flush=True)
stored_runs.run({num_samples}, {store!r})
print("done", flush=True)
"""


def start_process(num_samples, store, before=""):
    """The same run in a process of its own."""
    script = before + SCRIPT.format(
        tests=str(Path(__file__).parent), num_samples=num_samples, store=str(store)
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
