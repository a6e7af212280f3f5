"""The link that heals: reconnects, gives up, and keeps forwarded ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from gdl.domain.errors import CommandTimeout, HostKeyChanged, SshAuthFailed, SshError
from gdl.domain.session import SshAddress
from gdl.ssh.connection import Connection
from gdl.ssh.reconnecting import Link
from gdl.ssh.repeating import Repeating
from gdl.ssh.silence import Silence
from relay import relayed
from ssh_server import LOOPBACK, SshServer, answering, serving
from waiting import wait_until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
def states() -> list[str]:
    return []


@pytest.fixture
async def link(server: SshServer, states: list[str]) -> AsyncIterator[Link]:
    """A link that tries for longer than any test takes, however busy the machine is."""
    made = Link(server.target(), on_state=states.append, give_up_s=60)
    await made.connect()
    yield made
    await made.aclose()


@pytest.fixture
async def hasty(server: SshServer, states: list[str]) -> AsyncIterator[Link]:
    """A link that gives up soon."""
    made = Link(server.target(), on_state=states.append, give_up_s=0.5)
    await made.connect()
    yield made
    await made.aclose()


async def test_first_connection_is_tried_once(server: SshServer, tmp_path: Path) -> None:
    target = server.target()
    await server.stop()
    link = Link(target)
    started = time.monotonic()
    with pytest.raises(SshError, match="refuses the connection"):
        await link.connect()
    assert time.monotonic() - started < 10
    await link.aclose()


async def test_heals_unasked(link: Link, server: SshServer, states: list[str]) -> None:
    await server.cut()
    await wait_until(lambda: states[-1] == "connected" and len(states) == 3)
    assert states[1].startswith("reconnecting: ")
    assert (await link.run("echo back")).stdout == "back\n"


async def test_callers_share_one_reconnect(link: Link, server: SshServer) -> None:
    before = server.logins
    # While the server is away the link stays cut, so that all ten really wait for the same making.
    await server.stop()
    await wait_until(lambda: not link.connected)
    waiting = [asyncio.create_task(link.get()) for _ in range(10)]
    await server.start()
    connections = await asyncio.gather(*waiting)
    assert len(set(map(id, connections))) == 1
    assert server.logins == before + 1


async def test_run_is_not_repeated(link: Link, server: SshServer, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    running = asyncio.create_task(link.run(f"echo x >> {mark}; sleep 60"))
    await wait_until(mark.exists)
    await server.cut()
    with pytest.raises(SshError):
        await running
    await link.run("true")
    assert mark.read_text() == "x\n"


async def test_files_are_read_and_put_across_a_cut(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    for turn in range(3):
        await link.put_text(str(file), f"turn {turn}")
        await server.cut()
        assert await link.read_at(str(file), 0, 100) == (f"turn {turn}".encode(), 6)
        await server.cut()


async def test_gives_up_and_tries_again_when_asked(
    hasty: Link, server: SshServer, states: list[str]
) -> None:
    await server.stop()
    await wait_until(lambda: not hasty.connected)
    started = time.monotonic()
    with pytest.raises(SshError, match=r"out of reach for 0\.5 s"):
        await hasty.run("true")
    assert time.monotonic() - started < 3
    await server.start()
    assert (await hasty.run("echo yes")).ok
    assert states[-1] == "connected"


async def test_changed_host_key_ends_the_trying(link: Link, server: SshServer) -> None:
    await server.stop()
    server.host_key = asyncssh.generate_private_key("ssh-ed25519")
    await server.start()
    await wait_until(lambda: not link.connected)
    with pytest.raises(HostKeyChanged):
        await link.run("true")


async def test_refused_key_ends_the_trying(link: Link, server: SshServer) -> None:
    await server.stop()
    server.client_key = asyncssh.generate_private_key("ssh-ed25519")
    await server.start()
    with pytest.raises(SshAuthFailed):
        await link.get()


async def test_forward_outlives_a_cut(link: Link, server: SshServer, states: list[str]) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    async with answering(greet) as port:
        forward = await link.forward(port)
        local = forward.local_port
        assert await _call(local) == b"hello"
        await server.stop()
        await wait_until(lambda: not link.connected)
        assert await _call(local) == b""
        await server.start()
        await wait_until(lambda: link.connected)
        assert await _call(local) == b"hello"
        assert forward.local_port == local
        await link.aclose()
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, local)


async def test_closed_link_stays_closed(link: Link, server: SshServer) -> None:
    await link.aclose()
    await link.aclose()
    with pytest.raises(SshError, match="closed"):
        await link.run("true")
    await wait_until(lambda: not server.connections)


async def test_close_while_reconnecting(link: Link, server: SshServer) -> None:
    await server.stop()
    await wait_until(lambda: not link.connected)
    waiting = asyncio.create_task(link.get())
    await asyncio.sleep(0)  # it waits now
    await link.aclose()
    with pytest.raises((SshError, asyncio.CancelledError)):
        await waiting


async def _call(port: int) -> bytes:
    """What the port says; nothing when it turns the caller away."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return b""
    try:
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()


async def test_what_may_be_run_twice_is_run_again_after_a_cut(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    command = f"echo x >> {mark}; [ $(wc -l < {mark}) -gt 1 ] || sleep 60; echo done"
    running = asyncio.create_task(Repeating(link).run(command))
    await wait_until(lambda: mark.exists() and mark.read_text() == "x\n")
    await server.cut()
    assert (await running).stdout == "done\n"
    with pytest.raises(CommandTimeout):
        await Repeating(link).run("sleep 60", timeout=0.2)


async def test_a_file_is_read_through_cuts_in_a_row(
    link: Link, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log"
    file.write_text("abc")
    read, cuts = Connection.read_at, iter(range(3))

    async def cut_first(conn: Connection, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        if next(cuts, None) is not None:
            await server.cut()
        return await read(conn, path, offset, limit)

    monkeypatch.setattr(Connection, "read_at", cut_first)
    assert await link.read_at(str(file), 0, 10) == (b"abc", 3)


async def test_a_file_that_does_not_come_in_time_costs_no_connection(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object) -> tuple[bytes, int]:
        raise CommandTimeout("no answer about a file", "try again")

    monkeypatch.setattr(Connection, "read_at", stuck)
    before = await link.get()
    with pytest.raises(CommandTimeout):
        await link.read_at("log", 0, 10)
    assert await link.get() is before


async def test_what_took_too_long_once_is_asked_for_again(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    """An outage may have taken the time, and be over when the machine is asked if it is there."""
    mark = tmp_path / "ran"
    command = f"echo x >> {mark}; [ $(wc -l < {mark}) -gt 1 ] || sleep 60; echo done"
    assert (await link.run_again(command, timeout=2)).stdout == "done\n"
    assert mark.read_text() == "x\nx\n"


async def test_who_is_in_a_hurry_waits_no_longer(server: SshServer, states: list[str]) -> None:
    link = Link(server.target(), on_state=states.append, give_up_s=900)
    await link.connect()
    await server.stop()
    await wait_until(lambda: len(states) > 2)
    waiting = asyncio.create_task(link.run("true"))
    await asyncio.sleep(0)
    link.hurry(0.1)
    with pytest.raises(SshError, match="out of reach"):
        await asyncio.wait_for(waiting, 20)
    await link.aclose()


async def test_a_silence_that_the_connection_outlives_is_noticed(server: SshServer) -> None:
    async with relayed(server.port) as relay:
        link = Link(server.target(address=SshAddress(LOOPBACK, relay.port, "tester")))
        async with Silence(link) as silence:
            assert not await silence.broken()
        async with Silence(link, after_s=0.0, silent_s=0.5) as silence:
            relay.cut()
            await asyncio.sleep(1.0)
            relay.restore()
            assert await silence.broken()
        async with Silence(link) as silence:
            await server.cut()
            assert await silence.broken()
            assert link.connected
        await link.aclose()
