"""Every Python block of the README and the documentation runs, and prints what the page says.

The blocks of one page run in sequence, as a reader would type them, in an empty directory. A `text` block
right after a Python block is what that block prints. A failure names the line of the page.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^\s*(?:```|~~~)\s*(?:python|py|pycon)\b", re.MULTILINE | re.IGNORECASE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def python_blocks(page):
    """Yield each block's code, below empty lines so that its line numbers are the page's, and its output."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1], block[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code, output in python_blocks(page):
        exec(compile(code, page, "exec"), names)
        printed = capsys.readouterr().out
        if output is not None:
            assert printed == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_code_is_left_out(page):
    text = page.read_text()
    assert len(list(python_blocks(page))) == len(FENCE.findall(text))


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/how-to/*.md")), ids=lambda page: page.stem)
def test_a_how_to_shows_what_its_code_prints(page):
    text = page.read_text()
    outputs = [output for _, output in python_blocks(page) if output is not None]
    assert outputs
    assert len(outputs) == text.count("```text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_the_quickstarts_are_short():
    blocks = list(python_blocks(ROOT / "README.md"))
    assert len(blocks) == 2
    for code, output in blocks:
        assert 0 < len(code.strip().splitlines()) <= 15
        assert output
