"""The compiled programs of an `MCMC`, kept for its next runs with the same data."""

import functools
from collections.abc import Callable

import jax

from parallel_mcmc._core.auto import any_traced
from parallel_mcmc._core.lapack import one_matrix_at_a_time
from parallel_mcmc._core.programs import kept
from parallel_mcmc._numpyro.fingerprint import digest


def program(
    caches: tuple[dict, dict], takes_args: bool, name: tuple, run: Callable, args: tuple,
    kwargs: dict,
) -> Callable:  # fmt: skip
    """``run`` of its first argument, compiled, and kept by its name.

    Args:
        caches: programs for all runs, and programs with values that cannot be compared. The latter
            are for the chains of this run only; NumPyro keeps none.
        takes_args: whether the arguments of the model are arguments of the program, as with
            NumPyro's ``jit_model_args``; otherwise it holds them as constants.
        name, run: the function, and what tells it from others.
        args, kwargs: of the model.
    """
    run = one_matrix_at_a_time(run)
    if any_traced((args, kwargs)):
        return functools.partial(run, args=args, kwargs=kwargs)
    # Constants are known by their contents.
    data = None if takes_args else digest((args, kwargs))
    is_opaque = data is None and not takes_args
    if not takes_args:
        run = functools.partial(run, args=args, kwargs=kwargs)
    made = kept(caches[is_opaque], (*name, data), lambda: jax.jit(run))
    return (lambda values: made(values, args, kwargs)) if takes_args else made
