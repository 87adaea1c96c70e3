"""``python -m parallel_mcmc``: sample a small posterior with a parallel solver and say how it went.

Prints ArviZ's summary, how the chains were solved, how far they are from the
sequential ones and what both took; writes the draws as netCDF and a trace plot. With a store there
are no sequential ones.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

import parallel_mcmc as pm
from parallel_mcmc import targets
from parallel_mcmc._arviz import netcdf
from parallel_mcmc._cli import warmup
from parallel_mcmc._cli.comparison import Timed, compare, describe_solve, draws_of, timed
from parallel_mcmc._core.rows import first_of


class Setup(NamedTuple):
    """What suits a target.

    Attributes:
        is_mass_matrix_diagonal: of the metric that is adapted.
        trajectory_length: of HMC, pi / (sqrt(a) + sqrt(b)) with the least and the largest typical
            curvature a and b in adapted coordinates: there both contract alike.
        solver: where the kernel's own does not do.
    """

    is_mass_matrix_diagonal: bool
    trajectory_length: float
    solver: str | None = None


TARGETS = {
    "eight-schools": Setup(True, 1.5),
    "german-credit": Setup(False, 1.5),  # correlated: a and b are 0.4 and 6 with a diagonal
    "mixture": Setup(True, 0.7),  # a mode is that much narrower than all four together
    "banana": Setup(True, 0.5, "deer"),  # it bends, and so expands
}

SOLVERS: dict[str, Callable[[], pm.Solver]] = {
    "deer": pm.deer,
    "quasi-deer": pm.quasi_deer,
    "quasi-deer-exact": lambda: pm.quasi_deer(pm.exact_diagonal()),
    "picard": pm.picard,
    "jacobi": pm.jacobi,
    "sequential": pm.sequential,
}


class Kernel(NamedTuple):
    """A kernel with what it is solved by, where nothing is asked for."""

    tune: Callable[[warmup.Task], warmup.Tuned]
    solver: str
    window: int | None = None


KERNELS = {
    # After adaptation Jacobi takes about as many iterations as Newton, without a derivative.
    "hmc": Kernel(warmup.tuned_hmc, "jacobi"),
    "mala": Kernel(warmup.tuned_mala, "quasi-deer"),
    # It does not forget: a window saves work far ahead of what is solved.
    "random-walk": Kernel(warmup.tuned_random_walk, "picard", 256),
    "nuts": Kernel(warmup.tuned_nuts, "jacobi"),  # no derivative of a tree is cheap
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> Parser:
    parser = Parser("parallel_mcmc", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--target", choices=TARGETS, default="eight-schools")
    parser.add_argument("--data", type=Path, help="german-credit: the file, else it is downloaded")
    parser.add_argument("--kernel", choices=KERNELS, default="hmc", help="nuts is BlackJAX's")
    parser.add_argument("--solver", choices=SOLVERS, help="by default what suits the kernel")
    parser.add_argument("--draws", type=whole(4), default=1000, help="per chain")
    parser.add_argument(
        "--warmup",
        type=whole(20),
        default=1000,
        help="most steps of each helper, or of window adaptation",
    )
    parser.add_argument("--chains", type=whole(1), default=4)
    parser.add_argument("--seed", type=whole(0, 2**32 - 1, "the largest seed"), default=0)
    parser.add_argument("--window", type=whole(1), help="steps solved together")
    parser.add_argument(
        "--store", type=Path, metavar="RUN.zarr",
        help="write each window there; the same command goes on after an interruption",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    parser.add_argument("--float64", action="store_true", help="double precision")
    parser.add_argument("--progress", action="store_true", help="show the steps solved so far")
    return parser


def whole(
    least: int, most: int = 2**31 - 1, why: str = "as many as can be counted in 32 bits"
) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        if int(text) > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most}, {why}")
        return int(text)

    return convert


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.data and options.target != "german-credit":
        parser().error("--data goes with --target german-credit; the other targets need no file")
    with jax.enable_x64(options.float64), one_line(OSError, ValueError):
        options.output.mkdir(parents=True, exist_ok=True)
        if not os.access(options.output, os.W_OK):
            raise PermissionError(f"the folder {options.output} cannot be written to")
        target = make_target(options)
    errors = ValueError, MemoryError, OSError, ImportError
    with jax.enable_x64(options.float64), one_line(*errors):
        run(options, target)


@contextlib.contextmanager
def one_line(*errors: type[Exception]) -> Iterator[None]:
    """What the user can mend is a sentence and exit code 1, not a traceback."""
    try:
        yield
    except errors as error:
        sys.exit(f"parallel_mcmc: {error}")


def say(text: str) -> None:
    """Print; a reader that has gone, such as `head`, ends the printing and not the run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Under the same number, as Python flushes it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_target(options: argparse.Namespace) -> targets.Target:
    if options.target != "german-credit":
        return getattr(targets, options.target.replace("-", "_"))()
    if options.data:
        return targets.german_credit(options.data)
    try:
        return targets.german_credit(targets.fetch_german_credit(targets.GERMAN_CREDIT_URL))
    except (OSError, ValueError, HTTPException) as error:
        raise OSError(
            f"the German credit data could not be had from {targets.GERMAN_CREDIT_URL} ({error}); "
            "get the file german.data-numeric otherwise and name it with --data"
        ) from error


def tune(options: argparse.Namespace, rng_key: Any, target: targets.Target) -> warmup.Tuned:
    setup = TARGETS[options.target]
    task = warmup.Task(
        rng_key, target.logdensity_fn, target.position, options.chains, options.warmup,
        setup.is_mass_matrix_diagonal, setup.trajectory_length,
        options.store and options.store.with_name(f"{options.store.name}.warmup.npz"),
        f"{options.target} {options.data} {options.float64}",
    )  # fmt: skip
    return KERNELS[options.kernel].tune(task)


def run(options: argparse.Namespace, target: targets.Target) -> None:
    warmup_key, sample_key = jax.random.split(jax.random.key(options.seed))
    tuned = tune(options, warmup_key, target)
    kernel, setup = KERNELS[options.kernel], TARGETS[options.target]
    solver = options.solver or setup.solver or kernel.solver
    say(
        f"{target.name} by {options.kernel} ({tuned.settings}): {options.chains} chains of "
        f"{options.draws} draws after a warm-up of {tuned.cost}\n"
    )
    constrain = jax.jit(jax.vmap(jax.vmap(target.constrain)))

    def draw(solver: pm.Solver, progress_bar: bool = False) -> Timed:
        found = timed(
            lambda: pm.sample(
                sample_key,
                tuned.kernel,
                tuned.position if options.chains > 1 else first_of(tuned.position),
                options.draws,
                num_chains=options.chains,
                solver=solver,
                window=options.window or kernel.window,
                progress_bar=progress_bar,
                store=options.store,
            ),
            options.draws,
        )
        position = constrain(jax.tree.map(jnp.asarray, found.trace.position))
        return found._replace(trace=found.trace._replace(position=position))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.ConvergenceWarning)  # it is a line of the report
        parallel = draw(SOLVERS[solver](), options.progress)
        is_whole = draws_of(parallel.trace) == options.draws
        alone = solver == "sequential" or options.store or not is_whole
        sequential = None if alone else draw(pm.sequential())
    data = parallel.trace.to_inference_data()
    lines = [summary(data), "", *describe_solve(parallel.trace)]
    if sequential and draws_of(sequential.trace) == options.draws:
        lines += compare(parallel, sequential)
    say("\n".join(lines))
    with one_line(OSError):
        say(f"Wrote {' and '.join(map(str, write(data, options.output / target.name)))}")


def summary(data: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0.23 announces 1.0 when it is imported
        import arviz
    return arviz.summary(data).to_string()


def write(data: Any, stem: Path) -> tuple[Path, Path]:
    """The draws as netCDF and a trace plot, beside each other.

    Under names of their own until both are whole, so that earlier files outlive a full disk.
    """
    files = stem.with_name(f"{stem.name}.nc"), stem.with_name(f"{stem.name}-trace.png")
    try:
        with tempfile.TemporaryDirectory(dir=stem.parent) as temporary:
            parts = [Path(temporary) / file.name for file in files]
            parts[0].write_bytes(netcdf(data))
            plot_trace(data, parts[1])
            for part, file in zip(parts, files, strict=True):
                part.replace(file)
    except OSError as error:
        raise OSError(
            f"{files[0]} and {files[1]} could not be written ({error}); make room, or name "
            "another folder with --output"
        ) from error
    return files


def plot_trace(data: Any, path: Path) -> None:
    import arviz
    import matplotlib

    matplotlib.use("Agg")
    # ArviZ 1.x has another name for traces beside densities, and its plots save themselves.
    plot = getattr(arviz, "plot_trace_dist", arviz.plot_trace)(data, backend="matplotlib")
    figure = plot if hasattr(plot, "savefig") else plot.ravel()[0].figure
    if hasattr(figure, "tight_layout"):
        figure.tight_layout()
    figure.savefig(str(path))


if __name__ == "__main__":
    main()
