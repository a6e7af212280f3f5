"""The terminal UI in a browser, by way of textual-serve. A process for each browser."""

from __future__ import annotations

import ipaddress
import secrets
import shlex
import sys
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NoReturn
from urllib.parse import urlsplit

import typer

from gdl.cli import exit_codes
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, guarded, load_settings
from gdl.domain.errors import UsageError


def serve(cli: Cli, port: int, address: str) -> NoReturn:
    """Until Ctrl-C. Whoever reaches the address can rent machines: it is loopback for a reason."""

    def work() -> int:
        settings = load_settings(cli)
        server = _server(_command(cli), address, port)
        if not _is_loopback(address):
            say(f"anyone who can reach {address}:{port} can spend your money: there is no password")
        say(f"the terminal UI on the {settings.backend} backend: http://{address}:{port}")
        try:
            server.serve()
        except OSError as error:
            raise UsageError(
                f"cannot listen on {address}:{port}: {error.strerror or error}",
                "try another port, or another address",
            ) from None
        return exit_codes.OK

    raise typer.Exit(guarded(cli, work, Output(as_json=False)))


def _command(cli: Cli) -> str:
    """This program again, with the global options it was given."""
    words = [sys.executable, "-m", "gdl"]
    for name in ("backend", "config", "host", "identity"):
        if (value := getattr(cli, name)) is not None:
            words += [f"--{name}", str(value)]
    # One word, as the bare command takes a shorter way that reads no options.
    return shlex.join([*words, *(["--read-only"] if cli.read_only else [])])


def _server(command: str, address: str, port: int) -> Any:
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise UsageError(
            "serving to a browser needs textual-serve",
            "in a checkout of gdl-tui: pip install '.[serve]', or pip install textual-serve here",
        ) from None

    @web.middleware
    async def own_pages_only(request: Any, handler: Any) -> Any:
        """Refuse what another site's page sends here: it could rent machines in the user's name.
        A name that was bent to this address (DNS rebinding) is refused, too."""
        origin = request.headers.get("Origin")
        if not allowed(request.host, origin, address):
            raise web.HTTPForbidden(text="this page can only be opened at its own address")
        return await handler(request)

    class Guarded(Server):  # type: ignore[misc, unused-ignore]
        async def handle_index(self, request: Any) -> Any:
            """In place of the library's page, which asks another host for its font."""
            text, policy = page(request.host, request.query.get("fontsize", ""))
            headers = {"Content-Security-Policy": policy}
            return web.Response(text=text, content_type="text/html", headers=headers)

        async def on_startup(self, app: Any) -> None:
            """In place of the library's banner. aiohttp takes middlewares until this is over."""
            app.middlewares.append(own_pages_only)

    return Guarded(command, host=address, port=port, title="gdl-tui")


def page(host: str, font_size: str) -> tuple[str, str]:
    """The page with the terminal, and what it is allowed to load (a Content-Security-Policy). host:
    the address by which the browser reached us, the only one that either names. font_size: in
    pixels; 16 where it is no number of two digits."""
    nonce = secrets.token_urlsafe(16)
    socket = f"ws://{host}/ws"
    text = Template(_PAGE.read_text(encoding="utf-8")).substitute(
        nonce=nonce,
        websocket=escape(socket),
        font_size=font_size if font_size.isdecimal() and len(font_size) == 2 else "16",
    )
    # The terminal's script styles its elements and decodes images by itself.
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline';"
        f" font-src 'self'; img-src 'self' data: blob:; connect-src 'self' {socket}"
    )
    return text, policy


_PAGE = Path(__file__).with_name("web_page.html")


def allowed(host: str, origin: str | None, address: str) -> bool:
    """Whether a request is from a page of ours. host, origin: its headers; address: ours."""
    name = urlsplit(f"//{host}").hostname or ""
    if _is_loopback(address) and not _is_loopback(name):
        return False
    return origin is None or urlsplit(origin).netloc == host


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
