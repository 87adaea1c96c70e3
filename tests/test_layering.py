"""Each module imports only from the layers below it, and an import does nothing else."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "parallel_mcmc"


def picture():
    """Modules of the package in the order in which docs/architecture.md tells them."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    names, folder = [], ""
    for line in page.split("## Modules, in reading order")[1].split("\n## ")[0].splitlines():
        if found := re.match(r" {4}( *)(\w+)(/?) ", line):
            indent, name, is_folder = found.groups()
            folder = (folder if indent else "") + (f"{name}." if is_folder else "")
            names.append(folder.removesuffix(".") if is_folder else folder + name)
    return names


LAYERS = [*picture(), "__init__"]


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
import parallel_mcmc._core.scans as s
from parallel_mcmc._core import linearize as lin
from parallel_mcmc._core.solve import solve
if TYPE_CHECKING:
    from parallel_mcmc._mcmc.sampling import Trace
def later():
    from parallel_mcmc._mcmc.hmc import hmc
""")
    assert imported_modules(tree) == {"__init__", "_core.scans", "_core.linearize", "_core.solve"}
    assert imported_modules(tree, on_demand=True) == {"_mcmc.hmc"}


def test_the_docs_show_every_module_and_no_other():
    assert sorted(LAYERS) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_only_from_those_that_the_docs_show_above_it(module):
    below = LAYERS[: LAYERS.index(module)] if module != "__main__" else LAYERS
    assert imported_modules(TREES[module]) <= set(below)
    for imported in imported_modules(TREES[module], on_demand=True) - set(below):
        # What needs another library is imported when it is asked for, and so from anywhere.
        assert imported.startswith(("_arviz", "_blackjax.", "_numpyro.")), imported


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
others = {"numpyro", "blackjax", "arviz", "xarray", "pandas", "matplotlib", "pymc", "pytensor"}
others &= set(sys.modules)
assert not others, f"imported {sorted(others)}"
print("imported")
jax.numpy.zeros(1)
"""
    result = run_fresh(code, JAX_PLATFORMS="no_such_platform")
    assert result.stdout.strip() == "imported", result.stderr
    assert result.returncode != 0
    assert "no_such_platform" in result.stderr
