"""One chain over devices: memory of each, and the largest array that crosses between them.

Exact, from the compiled program. On a CPU devices are made by
``XLA_FLAGS=--xla_force_host_platform_device_count=4``; with --repeats 0 nothing is run.
"""

import math
import re
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import parallel_mcmc as pm
from benchmarks.measure import Options, Row, compile_for, of_solve, seconds_of
from benchmarks.records import Record

D, LENGTHS, DEVICES = 10, (1_000_000, 10_000_000), (1, 2, 4)


def rows(options: Options, part: str) -> Iterator[Row]:
    for T in LENGTHS:
        for number in DEVICES:
            measure = partial(measured, T, number, options)
            name = f"normal/{T}/{number} devices"
            yield Row(f"normal, D = {D}", f"MALA, {number} devices", T, "quasi-deer", measure, name)


def measured(T: int, number: int, options: Options) -> Record:
    if len(jax.devices()) < number:
        raise FileNotFoundError(f"{number} devices are not there: see python -m benchmarks.devices")
    mesh = Mesh(np.array(jax.devices()[:number]), ("time",))
    kernel = pm.mala(lambda x: -jnp.sum(x**2) / 2, 0.9)

    def draw(rng_key):
        trace = pm.sample(rng_key, kernel, jnp.zeros(D), T, solver=pm.quasi_deer(), mesh=mesh)
        return trace.position, trace.solve

    program = compile_for(draw, jax.random.key(options.seed))
    memory = program.compiled.memory_analysis()
    found: Record = {
        "D": D,
        "devices": number,
        "bytes_temporary": memory.temp_size_in_bytes,
        "bytes_results": memory.output_size_in_bytes,
        "largest_gathered": max(gathered(program.compiled.as_text()), default=0),
        "compile_seconds": program.compile_seconds,
    }
    if options.repeats:
        seconds, (_, info) = seconds_of(program)
        found |= {**of_solve(info), "seconds": seconds}
    return found


def gathered(program: str) -> Iterator[int]:
    """Numbers in each array that a collective of the program returns."""
    for shape in re.findall(r"= \(?\w+\[([\d,]*)\][^=\n]* all-\w+(?:-start)?\(", program):
        yield math.prod(int(size) for size in shape.split(",") if size)
