"""LAPACK for one matrix at a time, where jaxlib could deadlock.

jaxlib 0.10.0 to 0.11.0 spreads a batch of matrices over the threads of the CPU, and the thread that
holds the batch waits for the others. With as many batches as threads, all threads wait, and none is
left to do the work. On two cores, two triangular solves of a Gaussian process, at the steps of a
block, are enough. jaxlib 0.11.1 no longer deadlocks, but is not available for Python 3.11.

So the program of a run is rewritten before it is compiled: an operation on a batch becomes a loop
over its matrices. The values are the same.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jaxlib.version
from jax.extend import core

from parallel_mcmc._core.time_blocks import is_jaxpr

AFFECTED, MENDED = (0, 10, 0), (0, 11, 1)
"""The first jaxlib that spreads batches over threads, and the first that no longer does."""

NUM_AXES = {"tridiagonal_solve": 1} | dict.fromkeys(
    (
        "cholesky", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu",
        "ormqr", "qr", "schur", "svd", "triangular_solve", "tridiagonal",
    ),
    2,
)  # fmt: skip
"""JAX's operations that call LAPACK on a CPU, and the axes of one matrix in their first operand."""

LOOP = "one_matrix_at_a_time"
"""The name of the calls that replace an operation in a program."""


def can_stop() -> bool:
    """Whether batches of matrices can deadlock here."""
    device = getattr(jax.config, "jax_default_device", None) or jax.default_backend()
    on_cpu = getattr(device, "platform", device) == "cpu"
    return on_cpu and AFFECTED <= jaxlib.version.__version_info__ < MENDED


def one_matrix_at_a_time(f: Callable) -> Callable:
    """``f``, with loops instead of LAPACK operations on batches, where these can deadlock.

    For traceable functions. A `vmap` around the result becomes a loop, too. Programs without such
    an operation are unchanged. With one, small matrices take longer to compile and to run.

    >>> import jax, jax.numpy as jnp
    >>> logdets = lambda A: jnp.linalg.slogdet(A)[1]
    >>> one_matrix_at_a_time(logdets)(jnp.ones((3, 1, 1))).tolist()
    [0.0, 0.0, 0.0]
    """

    @functools.wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        if not can_stop():
            return f(*args, **kwargs)
        traced, shapes = jax.make_jaxpr(lambda: f(*args, **kwargs), return_shape=True)()
        results = core.jaxpr_as_fun(one_by_one(traced, {}))()
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return evaluate


def one_by_one(program: Any, known: dict[int, Any]) -> Any:
    """The program, and the programs that it calls, with LAPACK operations as loops.

    ``known`` has the programs seen before, so that a function called twice stays one function.
    """
    if id(program) not in known:
        is_open = isinstance(program, core.Jaxpr)
        jaxpr = program if is_open else program.jaxpr
        equations = [rewritten(equation, known) for equation in jaxpr.eqns]
        if any(new is not old for new, old in zip(equations, jaxpr.eqns, strict=True)):
            jaxpr = jaxpr.replace(eqns=equations)
            known[id(program)] = jaxpr if is_open else program.replace(jaxpr=jaxpr)
        else:
            known[id(program)] = program
    return known[id(program)]


def rewritten(equation: Any, known: dict[int, Any]) -> Any:
    if equation.primitive.name in NUM_AXES:
        return as_loop(equation)
    if equation.params.get("name") == LOOP:  # already rewritten
        return equation
    values, structure = jax.tree.flatten(equation.params, is_leaf=is_jaxpr)
    new = [one_by_one(value, known) if is_jaxpr(value) else value for value in values]
    if all(a is b for a, b in zip(new, values, strict=True)):
        return equation
    return equation.replace(params=jax.tree.unflatten(structure, new))


def batch_of(equation: Any) -> tuple[int, ...]:
    """The leading axes, before those of one matrix."""
    shape = equation.invars[0].aval.shape
    return shape[: len(shape) - NUM_AXES[equation.primitive.name]]


def as_loop(equation: Any) -> Any:
    """A call of a function that applies the operation matrix by matrix."""
    batch = batch_of(equation)

    def at(*operands: Any) -> list[Any]:
        results = equation.primitive.bind(*operands, **equation.params)
        return results if equation.primitive.multiple_results else [results]

    # A `vmap` from outside must not add a batch to the operation either. JAX's loops for that have
    # no reverse mode, so derivatives from outside are those of the operation itself.
    each = jax.custom_jvp(jax.custom_batching.sequential_vmap(at))
    each.defjvp(functools.partial(jax.jvp, at))

    def loop(*operands: Any) -> list[Any]:
        size = math.prod(batch)
        if size == 1:
            results = each(*(x.reshape(x.shape[len(batch) :]) for x in operands))
            return [x.reshape(*batch, *x.shape) for x in results]
        flat = [x.reshape(size, *x.shape[len(batch) :]) for x in operands]
        results = jax.lax.map(lambda operands: each(*operands), flat)
        return [x.reshape(*batch, *x.shape[1:]) for x in results]

    loop.__name__ = LOOP
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    (call,) = jax.make_jaxpr(jax.jit(loop))(*shapes).eqns
    return equation.replace(primitive=call.primitive, params=call.params)
