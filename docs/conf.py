"""Sphinx: the pages of this folder, the notebooks, and the reference from the docstrings."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parallel_mcmc import __version__ as release

DOCS = Path(__file__).resolve().parent


def copy_of_notebook(source: str, target: str) -> None:
    """Its links to ``../docs`` lead to this folder, from where the copy lies, too."""
    text = Path(source).read_text(encoding="utf-8")
    Path(target).write_text(text.replace("](../docs/", "](../"), encoding="utf-8")


# Sphinx takes pages from this folder alone, and follows a link to where it leads.
shutil.copytree(
    DOCS.parent / "notebooks",
    DOCS / "notebooks",
    copy_function=copy_of_notebook,
    ignore=shutil.ignore_patterns(".*"),
    dirs_exist_ok=True,
)

project = "parallel_mcmc"
author = "The parallel_mcmc developers"
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"{project} {release}"

# Notebooks are committed with their outputs, and the tests run them.
nb_execution_mode = "off"
myst_heading_anchors = 3

# In docstrings a name between single backticks is one of the package's, where it has one.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
