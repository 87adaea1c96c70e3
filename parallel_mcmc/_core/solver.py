"""A solver as a value: a linearisation, a correction, and when to stop."""

import dataclasses

from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.correction import Correct, newton
from parallel_mcmc._core.linearize import Linearize
from parallel_mcmc._core.options import written

MOST_ITERATIONS = 200
"""The limit if ``max_iterations`` is None, unless `auto` expects Jacobi to need more."""


@dataclasses.dataclass(frozen=True)
class Solver:
    """How to make one iteration, and when to stop.

    Attributes:
        function: the name of the function that makes it.
        linearize: ``(f, x_prev, inputs, rng_key) -> (f_values, A)``; None runs step by step.
        correct: computes the correction from the maps A and the residuals: see `correction`.
        options: the arguments as written, for printing.
        tol: stop early, once the residual of every step is within this many units of the ``scale``
            of `solve`, plus four units in the last place of x. The result is then not the exact
            chain: an error of ``tol`` at each step adds up over the steps that the chain remembers,
            accept decisions within it flip, and states that must be exact, such as counters, may be
            wrong. By default x_t is f(x_{t-1}, u_t) to the last bit, except at
            ``info.num_trembling`` steps.
        max_iterations: limit per window; steps that have not converged then run one by one. By
            default 200, or more if `auto` expects that. Like ``tol``, it is part of the compiled
            program: another value recompiles.
        then: the solver that takes over once fewer than one step in 1,000 have a residual of more
            than 0.03 spreads.

    Raises:
        ValueError: for a negative ``tol``, or a ``max_iterations`` below 1.

    >>> import parallel_mcmc as pm
    >>> pm.deer(), pm.quasi_deer(pm.exact_diagonal(), max_norm=None)
    (deer(), quasi_deer(linearize=exact_diagonal(), max_norm=None))
    >>> pm.jacobi(max_iterations=1_000)
    jacobi(max_iterations=1000)
    """

    function: str
    linearize: Linearize | None
    correct: Correct = newton
    options: str = dataclasses.field(default="", compare=False)
    tol: float | None = None
    max_iterations: int | None = None
    then: "Solver | None" = None

    def __post_init__(self) -> None:
        check_limits(self.tol, self.max_iterations)

    @property
    def name(self) -> str:
        """As it appears in reports."""
        return self.function if self.then is None else f"{self.function}, then {self.then.name}"

    @property
    def last(self) -> "Solver":
        """The solver by which the iterations end: this one, or the one that takes over from it."""
        return self.then or self

    @property
    def gradients_in_turn(self) -> int:
        """Those of one iteration, for each gradient in turn of one step.

        A product with the Jacobian of a step takes two for each gradient of the step. All products
        run side by side.
        """
        return 1 if self.linearize in (lin.identity, lin.zero) else 3

    def __repr__(self) -> str:
        ends = ""
        if self.linearize is not None:
            ends = written(Solver, tol=self.tol, max_iterations=self.max_iterations)
        return f"{self.function}({', '.join(filter(None, (self.options, ends)))})"


def check_limits(tol: float | None, max_iterations: int | None) -> None:
    if tol is not None and not tol >= 0:
        raise ValueError(f"tol must be at least 0, got {tol}; None, or 0, solves to the last bit.")
    if max_iterations is not None and not max_iterations >= 1:
        raise ValueError(
            f"max_iterations must be at least 1, got {max_iterations}; pm.sequential() makes none."
        )
