"""Each module imports only from the layers below it, and an import does nothing else."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "parallel_mcmc"

# From the lowest to the highest. A subpackage is one layer: its modules may build on each
# other, as long as that does not go round.
LAYERS = [
    "version",
    "constants",
    "time_blocks",
    "rows",
    "keys",
    "lapack",
    "programs",
    "linear_maps",
    "scans",
    "kalman",
    "linearize",
    "correction",
    "penalty",
    "solvers",
    "quartiles",
    "tolerance",
    "trembling",
    "falling",
    "stepwise",
    "frontier",
    "outcome",
    "judgement",
    "moves",
    "iteration",
    "report",
    "windows",
    "lyapunov",
    "diagnostics",
    "pilot",
    "auto",
    "solve",
    "transition",
    "kernels",
    "pooling",
    "helpers",
    "rounds",
    "tuning",
    "division",
    "adaptation",
    "warmup",
    "trace",
    "progress",
    "sampling",
    "interop",
    "comparison",
    "targets",
    "__init__",
    "__main__",
]


def modules():
    """Dotted name within the package -> file, for every module."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        names[".".join(parts)] = path
    return names


MODULES = modules()


def layer_of(module):
    return module.split(".")[0]


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported_modules(tree, on_demand=False):
    """Modules of the package that a syntax tree imports: at once, or inside functions."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    typing = {id(n) for block in ast.walk(tree) if is_type_checking(block) for n in ast.walk(block)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing or (id(node) in inside) != on_demand:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full.removeprefix("parallel_mcmc.") in MODULES else node.module)
    ours = {name for name in found if name.split(".")[0] == "parallel_mcmc"}
    return {name.removeprefix("parallel_mcmc").removeprefix(".") or "__init__" for name in ours}


TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def test_the_reader_of_imports_sees_every_form():
    tree = ast.parse("""
import jax, parallel_mcmc
import parallel_mcmc.scans as s
from parallel_mcmc import linearize as lin
from parallel_mcmc.solve import solve
if TYPE_CHECKING:
    from parallel_mcmc.sampling import Trace
def later():
    from parallel_mcmc.kernels.hmc import hmc
""")
    assert imported_modules(tree) == {"__init__", "scans", "linearize", "solve"}
    assert imported_modules(tree, on_demand=True) == {"kernels.hmc"}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer_and_imports_only_from_below(module):
    assert layer_of(module) in LAYERS, f"{module} is in no layer: add it to the table"
    here = LAYERS.index(layer_of(module))
    at_once, on_demand = (imported_modules(TREES[module], later) for later in (False, True))
    for imported in sorted(at_once | on_demand):
        assert layer_of(imported) in LAYERS, f"{module} imports {imported}, which is in no layer"
        there = LAYERS.index(layer_of(imported))
        sibling = there == here and imported != module
        # What needs another library is imported when it is asked for, and so from anywhere.
        optional = layer_of(imported) == "interop" and imported not in at_once
        assert there < here or sibling or optional, f"{module} imports {imported} from above"


def test_no_import_goes_round():
    graph = {module: imported_modules(tree) for module, tree in TREES.items()}
    assert set(graph) <= set(graphlib.TopologicalSorter(graph).static_order())


def run_fresh(code, **environment):
    """Run code in a new interpreter, from the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_allocates_nothing_sets_nothing_and_imports_no_other_library():
    # On a platform that does not exist the first array raises, so that the import makes none.
    code = """
import sys, jax
before = dict(jax.config.values)
import parallel_mcmc
assert dict(jax.config.values) == before, "jax.config changed"
others = {"numpyro", "blackjax", "arviz", "xarray", "pandas", "matplotlib"} & set(sys.modules)
assert not others, f"imported {sorted(others)}"
print("imported")
jax.numpy.zeros(1)
"""
    result = run_fresh(code, JAX_PLATFORMS="no_such_platform")
    assert result.stdout.strip() == "imported", result.stderr
    assert result.returncode != 0
    assert "no_such_platform" in result.stderr
