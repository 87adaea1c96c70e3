"""Graphs of PyTensor as functions of JAX, by PyTensor's own backend.

`pymc.sampling.jax` does nearly the same. But its import tells XLA to turn the CPU into a hundred
devices, and its densities ignore invalid parameters, where `pymc.sample` has minus infinity.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax


def function_of(inputs: list, outputs: list, check_bounds: bool = True) -> Callable:
    """The outputs as a JAX function of the inputs, in their order; it returns a tuple.

    Shared variables, such as data and the lengths of dimensions, keep the values that they have
    now. With ``check_bounds``, of `pymc.Model`, invalid parameters make a density minus infinity.
    """
    import pytensor.tensor as pt
    from pymc.logprob import utils  # noqa: F401  registers the rewrites that are named below
    from pytensor.compile.mode import JAX
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.fg import FunctionGraph
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import graph_inputs
    from pytensor.link.jax.dispatch import jax_funcify

    shared = [v for v in graph_inputs(outputs) if isinstance(v, SharedVariable)]
    if any(not isinstance(variable.type, pt.TensorType) for variable in shared):
        raise NotImplementedError("it draws random numbers, or has data that are no arrays")
    values = {variable: pt.constant(variable.get_value()) for variable in shared}
    graph = FunctionGraph(inputs, clone_replace(outputs, values), clone=True)
    bounds = "check_parameter_to_ninf_switch" if check_bounds else "remove_check_parameter"
    JAX.including(f"local_{bounds}").optimizer.rewrite(graph)
    return jax_funcify(graph)


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever is raised within, by PyTensor or JAX, as one sentence that says what to do."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise NotImplementedError(
            f"PyTensor's JAX backend cannot run {what}: {reason}; write that part with operations "
            "that have a JAX implementation, or sample the model with `pymc.sample`."
        ) from error


def double_precision() -> Any:
    """A context in which JAX has the precision of PyTensor, float64 unless told otherwise."""
    import pytensor

    return jax.enable_x64(pytensor.config.floatX == "float64")
