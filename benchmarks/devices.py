"""One chain over devices: memory of each, and the largest array that crosses between them.

Exact, from the compiled program. On a CPU devices are made by
``XLA_FLAGS=--xla_force_host_platform_device_count=4``; with --repeats 0 nothing is run.
"""

import itertools
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import parallel_mcmc as pm
from benchmarks.chains import SOLVERS
from benchmarks.gpu_programs import DEVICE, compile_for_h100, is_possible
from benchmarks.hlo import num_bytes
from benchmarks.measure import Options, Program, Row, compile_for, of_solve, seconds_of
from benchmarks.programs import MISSING, counts
from benchmarks.records import Record

D, LENGTHS, DEVICES = 10, (1_000_000, 10_000_000), (1, 2, 4)


def rows(options: Options, part: str) -> Iterator[Row]:
    if part == "sharded":
        yield from described()
        return
    for T in LENGTHS:
        for number in DEVICES:
            measure = partial(measured, T, number, options)
            name = f"normal/{T}/{number} devices"
            yield Row(f"normal, D = {D}", f"MALA, {number} devices", T, "quasi-deer", measure, name)


def drawn(T: int, solver: pm.Solver, mesh: Mesh, rng_key: Any) -> Any:
    kernel = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.9)
    trace = pm.sample(rng_key, kernel, jnp.zeros(D), T, solver=solver, mesh=mesh)
    return trace.position, trace.solve


def measured(T: int, number: int, options: Options) -> Record:
    if len(jax.devices()) < number:
        raise FileNotFoundError(f"{number} devices are not there: see python -m benchmarks.devices")
    mesh = Mesh(np.array(jax.devices()[:number]), ("time",))
    program = compile_for(partial(drawn, T, pm.quasi_deer(), mesh), jax.random.key(options.seed))
    found = {"D": D, "devices": number, **memory_of(program)}
    if options.repeats:
        seconds, (_, info) = seconds_of(program)
        found |= {**of_solve(info), "seconds": seconds}
    return found


def memory_of(program: Program) -> Record:
    memory, text = program.compiled.memory_analysis(), program.compiled.as_text()
    return {
        "bytes_temporary": memory.temp_size_in_bytes,
        "bytes_results": memory.output_size_in_bytes,
        "largest_gathered": max(map(size_of, gathered(text)), default=0),
        "compile_seconds": program.compile_seconds,
    }


def described() -> Iterator[Row]:
    """For GPUs that are not there."""
    if not is_possible():
        print(MISSING, flush=True)
        return
    for name in ("jacobi", "quasi-deer, 1 probe", "deer"):
        for T, number in itertools.product(LENGTHS[:1], (1, 4, 8)):
            measure = partial(over_gpus, T, SOLVERS[name], number)
            only = f"normal/{T}/{name}/{number} devices"
            yield Row(f"normal, D = {D}", f"MALA, {number} devices", T, name, measure, only)


def over_gpus(T: int, solver: pm.Solver, number: int) -> Record:
    draw = partial(drawn, T, solver)
    function = draw if number > 1 else partial(draw, None)
    key = jax.eval_shape(lambda: jax.random.key(0))
    program = compile_for_h100(function, key, num_devices=number)
    text = program.compiled.as_text()
    each = [line for line in text.splitlines() if IN_AN_ITERATION in line]
    crossing = list(map(num_bytes, gathered("\n".join(each))))
    return {
        "D": D,
        "devices": number,
        **memory_of(program),
        **counts(text),
        "collectives": sum(" all-gather-start(" in line for line in each),
        "collective_bytes": sum(crossing),
        "backend": "gpu, described",
        "device": DEVICE,
    }


IN_AN_ITERATION = "while/body/while/body/all_gather"
"""In JAX's name of an operation of the inner of the two loops."""


def gathered(program: str) -> Iterator[str]:
    """The shapes that the collectives of a program return, such as ``f32[4,10]``."""
    for shapes in re.findall(r"= (\(.*?\)|\S+) all-gather(?:-done)?\(", program):
        yield from re.findall(r"\w+\[[\d,]*\]", shapes)


def size_of(shape: str) -> int:
    return math.prod(int(size) for size in re.findall(r"\d+", shape.partition("[")[2]))
