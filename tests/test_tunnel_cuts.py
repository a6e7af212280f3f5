"""A tunnel through a line that is cut, to a real OpenSSH server: nothing is refused there and
nothing told, packets simply do not arrive. Both ways of carrying it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import link as lines
import pytest

from gdl.domain.session import SshAddress
from gdl.ssh.dial import Target, TunnelBy
from gdl.ssh.forward import Forward
from gdl.ssh.reconnecting import Link
from ssh_server import LOOPBACK
from waiting import wait_until

pytestmark = pytest.mark.skipif(lines.why_not() is not None, reason=str(lines.why_not()))

BOTH: tuple[TunnelBy, ...] = ("openssh", "built-in")

_ECHO = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0), backlog=64)
print(server.getsockname()[1], flush=True)
def serve(wire):
    with wire:
        while data := wire.recv(65536):
            wire.sendall(data)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[lines.DelayedLink]:
    with lines.delayed_link(tmp_path, rtt_ms=20) as made:
        yield made


@pytest.fixture
def port(line: lines.DelayedLink) -> Iterator[int]:
    """Of a server on the machine that sends back what it gets."""
    with line.far():
        server = subprocess.Popen([sys.executable, "-c", _ECHO], stdout=subprocess.PIPE)
    with server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


@contextlib.asynccontextmanager
async def tunnel(
    line: lines.DelayedLink, folder: Path, port: int, by: TunnelBy, keepalive_s: float
) -> AsyncIterator[tuple[Link, Forward]]:
    sshd = line.sshd
    target = Target(
        SshAddress(sshd.host, sshd.port, sshd.user), sshd.identity, folder / "pin",
        connect_timeout_s=4.0, keepalive_s=keepalive_s, tunnel=by,
    )  # fmt: skip
    link = Link(target, give_up_s=60)
    try:
        await link.connect()
        forward = await link.forward(port)
        assert forward.by == by, link.openssh.reason
        yield link, forward
    finally:
        await link.aclose()


async def echoed(forward: Forward, limit_s: float = 5.0) -> bool:
    """Whether a new connection gets its bytes back."""
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
            try:
                writer.write(b"there and back")
                return await reader.readexactly(14) == b"there and back"
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError):
        return False


@pytest.mark.parametrize("by", BOTH)
async def test_a_cut_that_is_over_soon_loses_nothing_of_a_stream(
    line: lines.DelayedLink, port: int, by: TunnelBy, tmp_path: Path
) -> None:
    """As 5 s are with the usual keep-alives: the same connections go on."""
    async with tunnel(line, tmp_path, port, by, 15.0) as (_, forward):
        reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
        sent = b"".join(b"%07d\n" % number for number in range(20_000))
        got = asyncio.create_task(reader.readexactly(len(sent)))
        for at in range(0, len(sent), 8_000):
            writer.write(sent[at : at + 8_000])
            if at == 80_000:
                line.cut()
                asyncio.get_running_loop().call_later(1.5, line.mend)
        await writer.drain()
        assert await asyncio.wait_for(got, 30) == sent
        writer.close()


@pytest.mark.parametrize("by", BOTH)
async def test_a_cut_that_outlasts_every_keep_alive_heals_on_the_same_port(
    line: lines.DelayedLink, port: int, by: TunnelBy, tmp_path: Path
) -> None:
    """As 60 and 600 s are: keep-alives of 1 s are missed three times within seconds."""
    async with tunnel(line, tmp_path, port, by, 1.0) as (link, forward):
        local = forward.local_port
        assert await echoed(forward)
        line.cut()
        await wait_until(lambda: not link.connected)
        await wait_until(lambda: forward.by == "built-in")
        # Turned away at once, not left to wait.
        assert not await echoed(forward)
        await asyncio.sleep(5)  # in which several tries to connect fail
        line.mend()
        await wait_until(lambda: link.connected)
        assert await echoed(forward)
        await wait_until(lambda: forward.by == by)
        assert await echoed(forward) and forward.local_port == local


@pytest.mark.long
@pytest.mark.parametrize("by", BOTH)
async def test_cuts_one_after_the_other(
    line: lines.DelayedLink, port: int, by: TunnelBy, tmp_path: Path
) -> None:
    async with tunnel(line, tmp_path, port, by, 1.0) as (_, forward):
        for seconds in (0.2, 4.5, 1.0, 0.1, 5.5):
            line.cut()
            await asyncio.sleep(seconds)
            line.mend()
            await wait_until(lambda: echoed(forward))
        await wait_until(lambda: forward.by == by)
        assert await echoed(forward)
