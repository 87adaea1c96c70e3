"""Fixtures that every test file shares."""

import functools
import gc
import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

# The tests compile hundreds of small programs and run each for a moment. From the quickest
# compilation on; not every version of JAX has every flag, and an unknown one ends the process.
COMPILE_QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=0",
    "--xla_disable_hlo_passes=tree_reduction_rewriter",
)


def accepted(flags):
    """Whether XLA, in a process of its own, starts with these flags."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return not subprocess.run(
        command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True
    ).returncode


# Read at JAX's first use. The workers of pytest-xdist inherit what the first process found.
if "XLA_FLAGS" not in os.environ:
    candidates = (" ".join(COMPILE_QUICKLY[i:]) for i in range(len(COMPILE_QUICKLY)))
    os.environ["XLA_FLAGS"] = next(filter(accepted, candidates), "")


# Tracing makes millions of small objects that live as long as a program: to look for cycles among
# them at every 700th is a sixth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 100)
# Nor is the line that each operation comes from written into programs: a tenth.
jax.config.update("jax_traceback_in_locations_limit", 0)


def pytest_configure(config):
    # A solve that has to finish step by step is a defect wherever a test does not expect it. Here
    # rather than in pyproject.toml, which would import the package before its shapes are checked.
    config.addinivalue_line("filterwarnings", "error::parallel_mcmc.ConvergenceWarning")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests run in one process, where they share what was compiled; in order.

    Files with many tests first, as is xdist's default, would leave the long ones to the end.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


_tests_run = itertools.count(1)


@pytest.fixture(autouse=True)
def few_programs_in_memory():
    """Forget compiled programs where there are many.

    Each keeps some hundred memory mappings, of which Linux gives a process 65,530; then
    the compiler aborts. With 8,000 of them a process has some 2 GB.
    """
    yield
    if next(_tests_run) % 5 == 0 and num_mappings() > 8_000:
        jax.clear_caches()


def num_mappings():
    """Of this process; many where they cannot be counted."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return sys.maxsize


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Both precisions; 64 bit is switched on for the one test, and for it alone."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture
def x64():
    """Double precision, for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def double_precision():
    """Double precision, for all tests of a file and the fixtures that they share."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Arguments of other types than annotations say, which the package is to refuse by itself."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def data_folder():
    """Data sets that are shared beside the repository, where there are any."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data is not beside the repository")
    return folder.resolve()


@pytest.fixture(scope="session")
def sequential_chain():
    """The reference: x_1..x_T by a plain `lax.scan`, as numpy arrays."""

    @functools.cache
    def scan(f):
        def step(x, u):
            x = f(x, u)
            return x, x

        return jax.jit(lambda x0, inputs: jax.lax.scan(step, x0, inputs)[1])

    return lambda f, x0, inputs: jax.tree.map(np.asarray, scan(f)(x0, inputs))
