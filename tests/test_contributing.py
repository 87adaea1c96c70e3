"""The kernel and the test that CONTRIBUTING.md walks through work as they are written there."""

import re
import sys
import types
from pathlib import Path

import pytest

import parallel_mcmc as pm

ROOT = Path(__file__).resolve().parents[1]
FILES = dict(
    re.findall(
        r"<!-- file: (\S+) -->\n```python\n(.*?)```",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.DOTALL,
    )
)
KERNEL, TEST = "parallel_mcmc/_mcmc/barker.py", "tests/test_barker.py"


@pytest.fixture(scope="module")
def written():
    """The kernel's module, as if it were in its file, and the test's."""
    modules = {}
    with pytest.MonkeyPatch.context() as patch:
        for path in (KERNEL, TEST):
            name = path.removesuffix(".py").replace("/", ".")
            modules[path] = types.ModuleType(name)
            patch.setitem(sys.modules, name, modules[path])
            exec(compile(FILES[path], path, "exec"), modules[path].__dict__)
        yield modules


def test_the_kernel_of_the_walk_through_passes_its_test(written):
    written[TEST].test_solved_it_is_the_sequential_chain(pm.picard())


def test_the_kernel_of_the_walk_through_has_its_distribution(written):
    written[TEST].test_it_draws_from_the_target()


def test_the_files_that_are_pointed_to_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    pointed = re.findall(r"\]\(([\w./-]+)\)", text) + re.findall(r"`([\w./]+/[\w.]+)`", text)
    assert len(pointed) > 5
    missing = {path for path in pointed if not (ROOT / path).exists()}
    assert missing <= set(FILES)
