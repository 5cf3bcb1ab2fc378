"""What the site has beside the pages in docs/: examples, contributing, changes, made of files elsewhere in the project.

Their links are turned: from docs/ to files outside of it, and from those to docs/. A page that would load something
from elsewhere ends the build: the site works offline and tells nobody who reads it. Called by mkdocs.
"""

import ast
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
TEXTS = ("CONTRIBUTING.md", "CHANGELOG.md")
SCRIPTS = ("examples/*.py", "demo/pool.py")

_LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^>]*>")
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of other files."""
    for name in TEXTS:
        files.append(File.generated(config, name, content=_turned(ROOT / name)))
    for script in sorted(path for pattern in SCRIPTS for path in ROOT.glob(pattern)):
        source = script.relative_to(ROOT)
        files.append(File.generated(config, source.with_suffix(".md").as_posix(), content=_page_of(script)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links from pages to files outside of docs/ to the pages that are made of those."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def turn(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match[1]))
        return _link_to(target, PurePosixPath(page.file.src_uri).parent) or match[1]

    return _LINK.sub(turn, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Refuse what would be loaded from elsewhere."""
    found = _LOADED.search(output)
    if found is not None:
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _link_to(target: Path, start: PurePosixPath) -> str | None:
    """Return the link to the page that stands for a file outside of docs/, None where there is none."""
    if not target.is_relative_to(ROOT) or target.is_relative_to(ROOT / "docs"):
        return None
    name = target.relative_to(ROOT)
    if name.as_posix() in TEXTS:
        return os.path.relpath(name, start)
    if any(target in ROOT.glob(pattern) for pattern in SCRIPTS):
        return os.path.relpath(name.with_suffix(".md"), start)
    return None


def _turned(path: Path) -> str:
    """Return a text from the project's root with its links as they are from docs/."""
    return _LINK.sub(lambda match: match[1].removeprefix("docs/"), path.read_text())


def _page_of(script: Path) -> str:
    text = script.read_text()
    title = script.stem.replace("_", " ").capitalize()
    prose = ast.get_docstring(ast.parse(text)) or ""
    return f"# {title}\n\n{prose}\n\nThe file is `{script.relative_to(ROOT)}`.\n\n```python\n{text}```\n"
