"""The site that mkdocs makes of the pages: strict, self-contained, every link and anchor there. And
the parts of pages that are generated are as the code is now."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).parent.parent


class Page(HTMLParser):
    """What a page loads, what it links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.anchors |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif tag == "link" and told.get("rel") != "canonical":
            self.loads.append(told["href"])
        elif "src" in told:
            self.loads.append(told["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 20
    wrong = []
    for path, page in pages.items():
        # The page of what is not found has links from the top, as it may be shown anywhere.
        base = site if path.name == "404.html" else path.parent
        for link in [*page.loads, *page.links]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads:
                    wrong.append(f"{path.name} loads {link}")
                continue
            target, anchor = urldefrag(link)
            there = path if not target else (base / unquote(target).lstrip("/")).resolve()
            if there.is_dir():
                there /= "index.html"
            if not there.exists():
                wrong.append(f"{path.name} links to {link}")
            elif anchor and there in pages and unquote(anchor) not in pages[there].anchors:
                wrong.append(f"{path.name} links to {link}, where is no such anchor")
    for style in site.rglob("*.css"):
        wrong += re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^\"')]*", style.read_text())
    assert wrong == []


def test_what_pages_say_of_settings_keys_and_filters_comes_from_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "docs/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run `python docs/reference.py`"
