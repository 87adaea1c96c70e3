"""Solve x_t = f(x_{t-1}, u_t), t = 1..T, for all t: the public entry."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from parallel_mcmc._core.auto import Auto, any_traced, choose
from parallel_mcmc._core.checks import check_dtype, num_steps_of
from parallel_mcmc._core.diagnostics import assess
from parallel_mcmc._core.mesh import (
    TIME,
    any_elsewhere,
    check_mesh,
    check_no_diagnosis,
    check_no_window,
    num_along_time,
    over_devices,
    placed,
    probes_on,
    spec,
    time_axis,
)
from parallel_mcmc._core.pilot import pilot
from parallel_mcmc._core.profiles import profile
from parallel_mcmc._core.programs import compiled
from parallel_mcmc._core.report import Solution, check_on_failure, report
from parallel_mcmc._core.rows import first_of
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._core.tolerance import aimed_at
from parallel_mcmc._core.windows import solve_vectors


def solve(
    f: Callable[[Any, Any], Any],
    x0: Any,
    inputs: Any,
    *,
    solver: Solver | Auto | None = None,
    window: int | None = None,
    scale: Any = None,
    guess: Any = None,
    rng_key: Any = None,
    on_failure: Literal["finish", "raise"] = "finish",
    diagnose: bool = False,
    mesh: Mesh | None = None,
) -> Solution:
    """Evaluate the recursion x_t = f(x_{t-1}, u_t) for all t = 1..T in parallel.

    Args:
        f: ``(x, u) -> x``, pure and traceable. Compilation is cached by the identity of f.
        x0: the state before the first step, any pytree of floating-point arrays.
        inputs: u_1..u_T, any pytree (PRNG keys included) with time as leading axis.
        solver: `auto()` by default, or `deer` or another under Solvers, with its ``tol``
            and ``max_iterations``: see `Solver`.
        window: steps solved together; by default all of them, or as many as `auto` finds memory
            for. Linear maps are stored for one window only.
        scale: typical size of each coordinate (a pytree like x0); by default the spread of
            the trajectory.
        guess: first iterate, a pytree of ``(T, ...)``; by default x0 everywhere. It does
            not change the result.
        rng_key: for solvers with random probes; a fixed key by default.
        on_failure: ``"finish"`` runs the steps that have not converged one by one, and warns;
            ``"raise"`` raises `ConvergenceError`, which holds the finished solution as ``result``.
            Inside `jit` there is no warning and no error: look at ``info.status``.
        diagnose: report the `Predictability` of the trajectory. This costs one more pass over it,
            with D products per step.
        mesh: devices to solve on together, with one axis named ``"time"``; T must be a multiple of
            its size. Each device holds a piece of the inputs, the states and the result, and the
            chain is solved without windows: see the docs, Many devices.

    Returns:
        `Solution`: the trajectory, equal to the sequential one, and a `SolveInfo`.

    Raises:
        ValueError, TypeError: while tracing, for arguments that do not fit.
        ConvergenceError: if ``on_failure="raise"`` asks for it.
        MemoryError: if the device has too little memory, with what to try.

    Costs per iteration: T evaluations of f and of the solver's products with its Jacobian, and one
    linear scan of O(log T) depth.

    >>> import jax.numpy as jnp, parallel_mcmc as pm
    >>> f = lambda x, u: 0.9 * jnp.tanh(x) + u
    >>> solution = pm.solve(f, jnp.zeros(2), jnp.ones((100, 2)), solver=pm.jacobi())
    >>> solution.trajectory.shape, int(solution.info.status)
    ((100, 2), 0)
    """
    check_on_failure(on_failure)
    num_steps = num_steps_of(inputs)
    rng_key = jax.random.key(0) if rng_key is None else rng_key
    if mesh is not None:
        mesh = check_mesh(mesh, num_steps)
        check_no_window(window, num_steps, mesh)
        check_no_diagnosis(diagnose, mesh)
        mesh = mesh if time_axis(mesh) else None  # nothing to share

    def attempt(solver, num_steps):
        first = jax.tree.map(lambda leaf: leaf[:num_steps], inputs)
        return _attempt(f, solver, x0, first, scale)

    x = jax.eval_shape(lambda x: ravel_pytree(x)[0], x0)
    choice = choose(
        solver,
        window,
        num_steps,
        x,
        None if any_traced((x0, inputs)) or any_elsewhere(inputs) else attempt,
        profile=lambda: profile(f, x0, inputs),
        num_devices=num_along_time(mesh),
    )
    if mesh is None:
        solution = _solve(
            f, choice.solver, choice.window, diagnose, x0, inputs, scale, guess, rng_key
        )
    else:
        everywhere = placed(mesh, (x0, scale, rng_key))
        pieces = placed(mesh, (inputs, guess), TIME)
        solution = _solve_on_mesh(f, choice.solver, mesh, everywhere, pieces)
    report(solution.info, on_failure, solution)
    return solution


@compiled(num_static=4)
def _solve(f, solver, window, diagnose, x0, inputs, scale, guess, rng_key):
    """`solve` for pytrees, compiled: ravel, solve for vectors, unravel."""
    step, vector0, ravel, unravel, scale = of_vectors(f, x0, inputs, scale)
    guess = None if guess is None else jax.vmap(ravel)(guess)
    trajectory, info = solve_vectors(step, vector0, inputs, solver, window, rng_key, scale, guess)
    tol = aimed_at(solver.tol, vector0.dtype)
    predictability = assess(step, vector0, inputs, trajectory, tol) if diagnose else None
    return Solution(jax.vmap(unravel)(trajectory), info, predictability)


@compiled(num_static=3)
def _solve_on_mesh(f, solver, mesh, everywhere, pieces):
    """`_solve` on several devices, each with a piece of time."""
    over_time = spec(mesh, TIME)
    x0, scale, rng_key = everywhere
    x = jax.eval_shape(lambda x: ravel_pytree(x)[0], x0)
    shape = num_steps_of(pieces[0]), x.size
    probes, of_probes = probes_on(mesh, solver.last.linearize, rng_key, shape, x.dtype)

    def piece(everywhere, probes, pieces):
        (x0, scale), (inputs, guess) = everywhere, pieces
        step, vector0, ravel, unravel, scale = of_vectors(f, x0, inputs, scale)
        guess = None if guess is None else jax.vmap(ravel)(guess)
        trajectory, info = solve_vectors(
            step, vector0, inputs, solver, num_steps_of(inputs), probes, scale, guess
        )
        return jax.vmap(unravel)(trajectory), info

    run = over_devices(mesh, piece, (spec(mesh), of_probes, over_time), (over_time, spec(mesh)))
    return Solution(*run((x0, scale), probes, pieces))


@compiled(num_static=2)
def _attempt(f, solver, x0, inputs, scale):
    """`pilot` for pytrees, compiled."""
    step, vector0, _, _, scale = of_vectors(f, x0, inputs, scale)
    return pilot(step, vector0, inputs, solver, scale=scale)


def of_vectors(f, x0, inputs, scale):
    """The recursion and x0 as vectors, the functions that ravel and unravel, and the scale."""
    check_state(f, x0, inputs)
    vector0, unravel = ravel_pytree(x0)
    dtype = vector0.dtype

    def step(x, u):
        return ravel_pytree(f(unravel(x), u))[0].astype(dtype)

    def ravel(tree):
        return ravel_pytree(tree)[0].astype(dtype)

    return step, vector0, ravel, unravel, None if scale is None else ravel(scale)


def check_state(f, x0, inputs):
    """Raise, while tracing, if the state is not of floats or f changes its shape."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x0):
        check_dtype(jax.dtypes.result_type(leaf), jax.tree_util.keystr(path))
    first = first_of(inputs)
    shapes = [jax.tree.map(jnp.shape, x) for x in (x0, jax.eval_shape(f, x0, first))]
    if shapes[0] != shapes[1]:
        raise TypeError(
            f"f must return a state like x0, whose shapes are {shapes[0]}; got {shapes[1]}."
        )
