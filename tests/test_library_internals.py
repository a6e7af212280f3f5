"""What we use of libraries beyond their documentation, each part held by a pin to the minor
version: one test for each, which says what to do when a new version has changed it."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import pkgutil
import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest
import uvicorn
from asyncssh.auth import ClientAuth
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.message_pump import MessagePump
from uvicorn.protocols.http.h11_impl import H11Protocol

import gdl.tui
from gdl.tui.widgets.growing_scroll import GrowingScroll
from ssh_server import serving

_PROJECT = Path(__file__).parent.parent / "pyproject.toml"


@pytest.mark.parametrize("library", ["asyncssh", "textual", "uvicorn"])
def test_it_is_held_to_a_minor_version(library: str) -> None:
    wanted = tomllib.loads(_PROJECT.read_text())["project"]["dependencies"]
    (text,) = (line for line in wanted if line.startswith(f"{library}>"))
    pin = re.fullmatch(rf"{library}>=(\d+)\.(\d+)(?:\.\d+)?,<(\d+)\.(\d+)", text)
    assert pin is not None, f"pyproject.toml must hold {library} to a minor version, not {text!r}"
    major, minor, next_major, next_minor = map(int, pin.groups())
    assert (next_major, next_minor) == (major, minor + 1), text


async def test_asyncssh_sends_all_packets_by_a_method_that_can_be_replaced(tmp_path: Path) -> None:
    """For `_spare_ignores` in ssh/dial.py."""
    ignore, open_channel = 2, 90
    kinds: list[int] = []
    async with serving(tmp_path) as server:
        conn = await asyncssh.connect(
            "127.0.0.1", server.port, username="u", known_hosts=None, config=None,
            client_keys=[server.client_key], agent_path=None,
        )  # fmt: skip
        async with conn:
            send = conn.send_packet

            def record(kind: int, *parts: bytes, **more: Any) -> None:
                kinds.append(kind)
                send(kind, *parts, **more)

            vars(conn)["send_packet"] = record
            assert (await conn.run("echo hello")).stdout == "hello\n"
    assert open_channel in kinds, "asyncssh no longer calls conn.send_packet(kind, ...)"
    assert ignore in kinds, (
        "asyncssh no longer sends an empty message before others: _spare_ignores can go"
    )


async def test_asyncssh_logs_in_by_methods_that_can_be_replaced(tmp_path: Path) -> None:
    """For `LoginAhead` in ssh/login.py, which sends at once what these send one after the other."""
    done: list[str] = []

    class Watching(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            def watch(name: str) -> None:
                call = getattr(conn, name)

                def noted(*words: Any, **more: Any) -> Any:
                    done.append(name)
                    return call(*words, **more)

                vars(conn)[name] = noted

            for name in ("send_service_request", "try_next_auth", "send_userauth_packet"):
                watch(name)
            request = conn._get_userauth_request_packet(b"publickey", (b"more",))
            assert request[:1] == b"\x32" and request.endswith(b"\0\0\0\x09publickeymore")
            assert conn._auth is None

    async with serving(tmp_path) as server:
        conn = await asyncssh.connect(
            "127.0.0.1", server.port, username="u", known_hosts=None, config=None,
            client_keys=[server.client_key], agent_path=None, client_factory=Watching,
        )  # fmt: skip
        conn.close()
        await conn.wait_closed()
    asking = ["send_service_request", "try_next_auth", "send_userauth_packet"]
    # Without a key first, which is refused; then whether the key would do; then signed.
    assert done == [*asking, "try_next_auth", "send_userauth_packet", "send_userauth_packet"], (
        "asyncssh logs in in another way now: look at LoginAhead"
    )
    assert list(inspect.signature(ClientAuth.__init__).parameters) == ["self", "conn", "method"]


async def test_asyncssh_tells_what_an_alias_stands_for(tmp_path: Path) -> None:
    """For `_options` in ssh/dial.py: what the user's configuration says of jump hosts and keys."""
    config = tmp_path / "config"
    config.write_text("Host box\n  ProxyJump me@jump:2222\n  IdentityFile /keys/box\n")
    known = await asyncssh.SSHClientConnectionOptions.construct(
        config=[str(config)], host="box", client_keys=None
    )
    assert known.tunnel == "me@jump:2222", "options.tunnel is no longer ProxyJump"
    assert known.config.get("IdentityFile") == ["/keys/box"], "options.config is another thing now"


def test_asyncssh_makes_server_processes_as_before() -> None:
    """For `_Command` in sshd/server.py."""
    parameters = list(inspect.signature(asyncssh.SSHServerProcess.__init__).parameters)
    assert parameters == [
        "self", "process_factory", "sftp_factory", "sftp_version", "allow_scp"
    ], "SSHServerProcess takes other arguments"  # fmt: skip
    for name in ("signal_received", "break_received", "terminal_size_changed"):
        assert callable(getattr(asyncssh.SSHServerProcess, name, None)), f"no {name} to replace"


async def test_uvicorn_starts_in_steps_and_tells_its_connections() -> None:
    """For simulator/service.py: no signal is taken over, and one connection can be cut."""
    clients: dict[tuple[str, int], H11Protocol] = {}

    class Recorded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            assert self.client is not None, "H11Protocol no longer tells its client's address"
            clients[self.client] = self

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Cut before anything is answered.
        clients[scope["client"]].transport.abort()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=Recorded, ws="none", lifespan="off", log_config=None)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            await server.shutdown(sockets=[listener])
    assert len(clients) == 1, "uvicorn no longer makes connections with the class it is given"


async def test_uvicorn_ends_a_connection_that_is_kept_open_at_once() -> None:
    """For `_shut_down` in simulator/service.py, which does without the sleep of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=H11Protocol, lifespan="off", log_config=None)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            (kept,) = server.server_state.connections
            for each in server.servers:
                each.close()
            kept.shutdown()
            async with asyncio.timeout(5):
                while server.server_state.connections:
                    await asyncio.sleep(0)
            assert not server.server_state.tasks, "a request that was answered still has a task"


class Scrolled(App[None]):
    def compose(self) -> ComposeResult:
        yield GrowingScroll()


async def test_textual_takes_another_content_size_without_a_layout() -> None:
    """For `resize_content` in tui/widgets/growing_scroll.py, which calls `_scroll_update`."""
    app = Scrolled()
    async with app.run_test(size=(40, 10)) as pilot:
        view = app.query_one(GrowingScroll)
        view.resize_content(Size(20, 5))
        await pilot.pause()
        assert not view.show_vertical_scrollbar
        for rows in (100, 200):
            view.resize_content(Size(20, rows))
            await pilot.pause()
            assert view.show_vertical_scrollbar and view.max_scroll_y == rows - 10
            assert view.vertical_scrollbar.window_virtual_size == rows
        view.scroll_end(animate=False, immediate=True)
        assert view.scroll_offset.y == 190


def ours() -> list[type[MessagePump]]:
    """The classes of the terminal UI that are built on Textual's."""
    found: dict[type[MessagePump], None] = {}
    for module in pkgutil.walk_packages(gdl.tui.__path__, "gdl.tui."):
        for thing in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(thing, type)
                and issubclass(thing, MessagePump)
                and thing.__module__ == module.name
            ):
                found[thing] = None
    return list(found)


@functools.cache
def private_names_of(base: type) -> set[str]:
    names = {name for name in vars(base) if name.startswith("_")}
    names |= set(re.findall(r"\bself\.(_\w+)\b[^=(\n]*=", inspect.getsource(base)))
    return {name for name in names if not name.startswith("__")}


def private_names_of_textual(made: type[MessagePump]) -> set[str]:
    """Attributes and methods with an underscore in the classes below one of ours."""
    bases = [base for base in made.__mro__ if base.__module__.startswith("textual")]
    return set().union(*map(private_names_of, bases))


def test_nothing_else_private_of_textual_is_used_or_replaced() -> None:
    used: dict[str, list[str]] = {}
    for made in ours():
        source = inspect.getsource(made)
        names = set(re.findall(r"\b(?:self\.|def )(_[a-z]\w*)", source))
        if both := sorted(names & private_names_of_textual(made)):
            used[made.__name__] = both
    assert used == {"GrowingScroll": ["_scroll_update"]}
