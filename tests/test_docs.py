"""The documents name what there is."""

import base64
import json
import re
from pathlib import Path

import parallel_mcmc as pm

ROOT = Path(__file__).resolve().parents[1]
DOCS, NOTEBOOKS = ROOT / "docs", ROOT / "notebooks"


def test_the_reference_lists_every_public_name_once():
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(set(pm.__all__) - {"__version__"})


def test_every_page_and_notebook_is_in_the_table_of_contents():
    pages = [path.stem for path in DOCS.glob("*.md") if path.stem != "index"]
    pages += [f"notebooks/{path.stem}" for path in NOTEBOOKS.glob("*.ipynb")]
    toctree = re.search(r"```\{toctree\}.*?```", (DOCS / "index.md").read_text(), re.DOTALL)
    assert toctree is not None
    assert set(pages) <= set(toctree[0].splitlines())


def test_links_of_notebooks_lead_to_files():
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (NOTEBOOKS / link).is_file(), f"{notebook.name}: {link}"


def test_the_picture_of_the_front_page_is_the_one_in_the_notebook():
    cells = json.loads((NOTEBOOKS / "how-it-works.ipynb").read_text())["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    pictures = ["".join(data["image/png"]) for data in outputs if "image/png" in data]
    assert base64.b64decode(pictures[0]) == (DOCS / "trajectory.png").read_bytes()
