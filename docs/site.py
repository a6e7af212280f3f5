"""Hooks of mkdocs: pages that lie beside `docs` are part of the site, where links expect them.

Links to source files stay words: the site does not hold the source.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "start.md",  # mkdocs takes a README for the first page
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "bench/README.md": "bench/README.md",
}
"""Their places in the repository and in the site."""
LINK = re.compile(r"(!?)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    for page, place in PAGES.items():
        text = (ROOT / page).read_text()
        for name in _images(text, posixpath.dirname(page)):
            if not name.startswith("docs/"):
                files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are in the site, where `docs` is the top."""
    here = page.file.src_uri
    sources = {place: name for name, place in PAGES.items()}
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def moved(found: re.Match[str]) -> str:
        image, words, target, anchor = found[1], found[2], found[3], found[4] or ""
        if "://" in target:
            return found[0]
        there = posixpath.normpath(posixpath.join(folder, unquote(target)))
        if not image and not there.startswith("docs/") and there not in PAGES:
            return words
        there = PAGES.get(there, there.removeprefix("docs/"))
        there = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{image}[{words}]({quote(there)}{anchor})"

    return LINK.sub(moved, markdown)


def _images(text: str, folder: str) -> Iterator[str]:
    for found in LINK.finditer(text):
        if found[1] and "://" not in found[3]:
            yield posixpath.normpath(posixpath.join(folder, unquote(found[3])))
