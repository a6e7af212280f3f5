"""The terminal UI in a browser: who may reach it, and that a page comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import chromium
from gdl.cli.web_server import allowed, page
from local_ports import free_port

pytestmark = pytest.mark.long

_BLANK = 20_000
"""Bytes of a picture: an empty page takes less, a screen of text more."""


@pytest.mark.parametrize(
    ("host", "origin", "address", "may"),
    [
        ("127.0.0.1:8081", None, "127.0.0.1", True),
        ("127.0.0.1:8081", "http://127.0.0.1:8081", "127.0.0.1", True),
        ("localhost:8081", "http://localhost:8081", "127.0.0.1", True),
        ("[::1]:8081", None, "::1", True),
        ("127.0.0.1:8081", "http://evil.example", "127.0.0.1", False),
        ("127.0.0.1:8081", "http://127.0.0.1:9999", "127.0.0.1", False),
        ("127.0.0.1:8081", "null", "127.0.0.1", False),
        ("evil.example:8081", "http://evil.example:8081", "127.0.0.1", False),
        ("gpu.lan:8081", "http://gpu.lan:8081", "0.0.0.0", True),
        ("gpu.lan:8081", "http://evil.example", "0.0.0.0", False),
    ],
)
def test_only_pages_of_its_own_address_may_use_it(
    host: str, origin: str | None, address: str, may: bool
) -> None:
    assert allowed(host, origin, address) is may


def get(url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=10
        ) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


async def visited(port: int) -> None:
    """What the page's script does: the offers come, and a key opens the help."""
    import aiohttp

    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        url = f"http://127.0.0.1:{port}/ws?width=80&height=24"
        async with session.ws_connect(url, origin=f"http://127.0.0.1:{port}") as socket:
            await seen(socket, b"60/60")
            await socket.send_json(["stdin", "?"])
            await seen(socket, b"On this screen")


async def seen(socket: Any, words: bytes) -> None:
    shown = b""
    async for message in socket:
        data = message.data
        shown += data if isinstance(data, bytes) else str(data).encode()
        if words in shown:
            return
    raise AssertionError(shown[-500:])


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """`gdl-tui serve` on the simulated market, as a process; its port, once a page comes."""
    port = free_port()
    env = {**os.environ, "GDL_DATA_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "c")}
    process = subprocess.Popen(
        [sys.executable, "-m", "gdl", "--backend", "sandbox", "serve", "--port", str(port)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert re.search(rf"sandbox backend: http://127\.0\.0\.1:{port}", process.stderr.readline())
        end = time.monotonic() + 60
        while True:
            try:
                status, page = get(f"http://127.0.0.1:{port}/")
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
        assert status == 200 and "gdl-tui" in page
        yield port
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


def test_a_page_comes_from_loopback_and_strangers_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("textual_serve")
    with served(tmp_path) as port:
        assert get(f"http://127.0.0.1:{port}/", Origin="http://evil.example")[0] == 403
        assert get(f"http://127.0.0.1:{port}/ws", Host="evil.example")[0] == 403
        asyncio.run(visited(port))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_and_all_that_it_loads_name_no_other_host(tmp_path: Path, name: str) -> None:
    pytest.importorskip("textual_serve")
    with served(tmp_path) as port:
        own = f"http://{name}:{port}"
        _, page = get(f"{own}/")
        assert f'"ws://{name}:{port}/ws"' in page
        seen, left = {""}, named_in(page)
        while left:
            path = left.pop()
            assert path.startswith(("/static/", "data:")), path
            if path in seen or path.startswith("data:"):
                continue
            seen.add(path)
            status, text = get(own + path)
            assert status == 200, path
            if path.endswith(".css"):
                left |= named_in(text)
        assert {"/static/css/xterm.css", "/static/js/textual.js"} < seen
        assert any(path.endswith(".ttf") for path in seen)


def named_in(text: str) -> set[str]:
    """What a page or a style sheet loads; a comment loads nothing."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    attributes = re.findall(r"""(?:href|src)=["']([^"']+)""", text)
    styles = re.findall(r"""(?:url\(|@import\s+)\s*["']?([^"')]+)""", text)
    return {*attributes, *styles}


def test_the_page_may_load_from_its_own_address_alone() -> None:
    text, policy = page("gpu.lan:8081", '1"0')
    assert "default-src 'none'" in policy and 'data-font-size="16"' in text
    assert set(re.findall(r"\w+://[^\s;]+", policy)) == {"ws://gpu.lan:8081/ws"}


@pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium")
async def test_a_browser_shows_the_offers_and_a_key_opens_the_help(tmp_path: Path) -> None:
    with served(tmp_path) as port:
        async with asyncio.timeout(90), chromium.browser(tmp_path / "browser") as page:
            await page.open(f"http://127.0.0.1:{port}/")
            await page.received("60/60")
            offers = await drawn(page, b"")
            await page.click(1240, 10)  # the keys go to what was clicked
            await page.type("?")
            await page.received("On this screen")
            help_shown = await drawn(page, offers)
            loaded = await page.value(
                "performance.getEntriesByType('resource').map(entry => entry.name).join(' ')"
            )
        assert {urlsplit(each).netloc for each in loaded.split()} == {f"127.0.0.1:{port}"}
        assert "RobotoMono" in loaded
        (tmp_path / "offers.png").write_bytes(offers)
        (tmp_path / "help.png").write_bytes(help_shown)


async def drawn(page: chromium.Page, before: bytes) -> bytes:
    """What is seen once it has changed and then stays as it is; the terminal draws it late."""
    seen = before
    while True:
        await asyncio.sleep(0.3)
        last, seen = seen, await page.picture()
        if seen == last != before and len(seen) > _BLANK:
            return seen


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update({'textual_serve': None, 'textual_serve.server': None})"
        "; from gdl.cli.app import run; sys.exit(run(['serve']))"
    )
    env = {**os.environ, "GDL_DATA_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install '.[serve]'" in done.stderr
