"""Hooks of mkdocs: the pages and files outside `docs/` join the site, and links between them and `docs/` hold there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Where in the site the pages at the top of the repository are.
_PAGES = {
    "README.md": "index.md",
    "README_cn.md": "zh/index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
}
# What pages link to and a reader looks into.
_FILES = ("LICENSE", "setup.cfg", "configs/*.yaml", "examples/*.py", "examples/clusters/*")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# The text may have code in it, and that brackets.
_LINK = re.compile(r"(!?\[(?:`[^`]*`|[^\]`])*\])\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside `docs/`."""
    for source, place in _PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for pattern in _FILES:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turn each relative link, which is right in the repository, into one that is right in the site."""
    place = page.file.src_uri
    source = next((source for source, there in _PAGES.items() if there == place), f"docs/{place}")
    code = _FENCED.findall(markdown)
    prose = _FENCED.split(markdown)
    moved = [_LINK.sub(lambda link: _moved(link, source, place), part) for part in prose]
    return "".join(part + fence for part, fence in zip(moved, [*code, ""]))


def _moved(link: re.Match[str], source: str, place: str) -> str:
    text, target, anchor = link.groups()
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if (ROOT / aim).is_dir():
        return text.strip("[]")  # The site shows files, not folders.
    there = _PAGES.get(aim, aim.removeprefix("docs/"))
    return f"{text}({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor or ''})"
