"""What the package says of itself in its metadata, and in CITATION.cff, agrees."""

import re
import tomllib
from pathlib import Path

from parallel_mcmc.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = (ROOT / "CITATION.cff").read_text()


def test_the_citation_is_of_this_version_and_licence():
    assert re.search(r"^version: (.*)$", CITATION, re.MULTILINE)[1] == __version__
    assert re.search(r"^license: (.*)$", CITATION, re.MULTILINE)[1] == PROJECT["license"]
    assert f"name: {PROJECT['authors'][0]['name']}\n" in CITATION


def test_links_lead_to_the_papers_that_are_to_be_cited():
    urls = PROJECT["urls"]
    assert set(re.findall(r"url: (\S+)", CITATION)) <= set(urls.values())
    assert all(len(label) <= 32 for label in urls)  # the limit of package indexes


def test_every_version_of_python_that_is_named_is_allowed():
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    lowest = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])[1]
    assert [int(minor) for minor in named] == list(range(int(lowest), int(lowest) + len(named)))


def test_the_extras_that_the_documents_name_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    named = set(re.findall(r"'\.\[(\w+)\]'", text)) | set(re.findall(r"extra `(\w+)`", text))
    assert named >= {"test", "docs"}
    assert named <= set(PROJECT["optional-dependencies"])
