"""Every notebook shows its outputs, and runs."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
RUN_BY_DEFAULT = "numpyro", "nuts-on-a-gpu"
each_to_run = pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in RUN_BY_DEFAULT)
        )
        for path in NOTEBOOKS
    ],
)


def code_cells(path):
    """Pairs of a code cell's source, without IPython magics, and its outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield (
                "\n".join(line for line in lines if not line.startswith(("%", "!"))),
                cell["outputs"],
            )


def shows_something(source):
    """Whether a cell prints or ends with an expression."""
    tree = ast.parse(source)
    prints = any(
        isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
        for node in ast.walk(tree)
    )
    return prints or bool(tree.body and isinstance(tree.body[-1], ast.Expr))


def strings(value):
    if isinstance(value, dict):
        value = [entry for name, entry in value.items() if not name.startswith("image/")]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    return [str(value)]


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_outputs_are_there_and_clean(path):
    for source, outputs in code_cells(path):
        assert outputs or not shows_something(source), f"no outputs: {source}"
        assert all(output["output_type"] != "error" for output in outputs), source
        text = "\n".join(strings(outputs))
        assert not any(folder in text for folder in ("/tmp/", "/home/", str(Path.cwd()))), text


@each_to_run
def test_runs(path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    source = "\n\n".join(source for source, _ in code_cells(path))
    with matplotlib.rc_context():
        try:
            exec(compile(source, path.name, "exec"), {"__name__": "__main__"})
        finally:
            plt.close("all")
