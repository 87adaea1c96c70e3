"""The documents name what there is."""

import re
from pathlib import Path

import parallel_mcmc as pm

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_reference_lists_every_public_name_once():
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(set(pm.__all__) - {"__version__"})


def test_every_page_and_notebook_is_in_the_table_of_contents():
    pages = [path.with_suffix("") for path in DOCS.glob("*.md") if path.stem != "index"]
    pages += [path.with_suffix("") for path in (DOCS / "notebooks").glob("*.ipynb")]
    toctree = re.search(r"```\{toctree\}.*?```", (DOCS / "index.md").read_text(), re.DOTALL)
    assert toctree is not None
    listed = toctree[0].splitlines()
    for page in pages:
        assert str(page.relative_to(DOCS)) in listed
