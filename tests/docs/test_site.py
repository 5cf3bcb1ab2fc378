"""The documentation as a site: what `make docs` does not see by itself."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
MODULES = ("msglog", "msglog.aio", "msglog.prometheus", "msglog.testing")
NAMELESS = {"msglog.__version__"}


def test_the_reference_tells_of_everything_public_once():
    told = Counter(
        name for page in REFERENCE.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    )
    public = {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__}
    assert told == Counter(public - NAMELESS)


def test_the_overview_lists_every_page_of_the_reference():
    listed = set(re.findall(r"\]\((\w+\.md)\)", (REFERENCE / "index.md").read_text()))
    assert listed == {page.name for page in REFERENCE.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize(
    "setting", ["strict: true", "omitted_files: warn", "not_found: warn", "anchors: warn", "font: false"]
)
def test_the_site_is_built_strictly_and_offline(setting):
    assert setting in (ROOT / "mkdocs.yml").read_text()


def test_making_all_checks_builds_the_site():
    rules = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:.*\n\t@?\$\(TOGETHER\) docs\b", rules, re.MULTILINE)
    assert re.search(r"mkdocs build --strict$", rules, re.MULTILINE)  # with --quiet warnings are not counted
