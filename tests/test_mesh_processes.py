"""A chain over the devices of two processes: each sees its part, and the first one speaks."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, warnings
import jax

rank, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)
import jax.numpy as jnp
import numpy as np
import parallel_mcmc as pm

assert (jax.device_count(), jax.local_device_count()) == (2, 1)
mesh = jax.make_mesh((2,), ("time",))
kernel, start = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.9), np.ones(2)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    trace = pm.sample(
        jax.random.key(0), kernel, start, 100, solver=pm.jacobi(max_iterations=5), mesh=mesh,
        progress_bar=True,
    )
said = [warning for warning in said if warning.category is pm.ConvergenceWarning]
assert len(said) == (rank == 0), said
assert not trace.position.is_fully_addressable
assert "solved in parallel: " in repr(trace).lower()
alone = pm.sample(jax.random.key(0), kernel, start, 100, solver=pm.sequential())
(part,) = trace.position.addressable_shards
assert part.data.shape == (1, 50, 2)
np.testing.assert_allclose(part.data, np.asarray(alone.position)[part.index], atol=1e-5)
data = pm.to_inference_data(trace)
np.testing.assert_allclose(data["posterior"]["x"], alone.position, atol=1e-5)
u = trace.position[0]  # from the devices of both
solution = pm.solve(lambda x, u: x / 2 + u, jnp.zeros(2), u, solver=pm.jacobi(), mesh=mesh)
assert int(solution.info.status) == pm.Status.CONVERGED

# Chains over the processes go on from where they are.
chains = jax.make_mesh((2,), ("chains",))
options = {"num_chains": 2, "solver": pm.jacobi(), "mesh": chains}
first = pm.sample(jax.random.key(0), kernel, np.ones((2, 2)), 50, **options)
then = pm.sample(jax.random.key(1), kernel, first.position[:, -1], 50, **options)
assert then.position.shape == (2, 50, 2)
try:
    pm.sample(jax.random.key(0), kernel, np.ones((2, 2)), 50, store="run.zarr", **options)
except ValueError as error:
    assert "written by one process" in str(error)

# NumPyro, the warm-up in each process and the solve in both.
import numpyro, numpyro.distributions as dist

def model():
    numpyro.sample("x", dist.Normal(0, 1).expand([2]))

def run(mesh):
    kernel = pm.ParallelHMC(model, num_helpers=0, solver=pm.jacobi())
    mcmc = pm.MCMC(kernel, num_warmup=50, num_samples=100, progress_bar=False, mesh=mesh)
    mcmc.run(jax.random.key(0))
    return mcmc

many, one = run(mesh), run(None)
x = many.get_samples(group_by_chain=True)["x"]
assert not x.is_fully_addressable
(part,) = x.addressable_shards
expected = np.asarray(one.get_samples(group_by_chain=True)["x"])
np.testing.assert_allclose(part.data, expected[part.index], atol=1e-4)
assert "for 100 draws" in many.solve_summary()
print("well")
"""


BEGIN = """
import os, signal, sys
import jax

rank, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(
    f"127.0.0.1:{port}", num_processes=2, process_id=rank, heartbeat_timeout_seconds=10
)
import jax.numpy as jnp
import numpy as np
import parallel_mcmc as pm

mesh = jax.make_mesh((2,), ("time",))
kernel, start = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.9), np.ones(2)
run = lambda key: pm.sample(key, kernel, start, 100, solver=pm.jacobi(), mesh=mesh)
run(jax.random.key(0))
print("begun", flush=True)
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
for seed in range(1_000_000):
    run(jax.random.key(seed))
"""


def run_two(program):
    """The results of two processes, each `(exit code, output, errors)`."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), port],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        results = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, *result) for process, result in zip(processes, results, strict=True)
    ]


@pytest.mark.slow
def test_two_processes_share_a_chain():
    results = run_two(PROGRAM)
    for _, output, errors in results:
        assert output.strip().endswith("well"), errors
    assert ["100/100" in errors for _, _, errors in results] == [True, False]


@pytest.mark.slow
def test_where_one_is_killed_the_other_ends_with_an_error():
    (code, output, errors), (killed, *_) = run_two(BEGIN)
    assert killed == -9
    assert output.endswith("begun\n") and code != 0, errors
    assert "rror" in errors
