"""Tunnels carried by this computer's own ssh: it takes the port over, and whoever uses the port
sees nothing of it, nor of its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from gdl.domain.errors import SshError
from gdl.domain.session import SshAddress
from gdl.ssh import openssh, openssh_forwards
from gdl.ssh.backlog import lengthen
from gdl.ssh.forward import Forward
from gdl.ssh.mux import Mux
from gdl.ssh.openssh import OpenSsh
from gdl.ssh.reconnecting import Link
from local_ports import free_port
from relay import relayed
from ssh_server import LOOPBACK, SshServer, answering, serving
from waiting import wait_until

needs_ssh = pytest.mark.skipif(not openssh.there_is_one(), reason="this computer has no ssh")


@pytest.fixture(autouse=True)
def short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the temporary folders of ssh are; the path of a socket is limited."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def linked(
    server: SshServer, tunnel: str = "openssh", **changes: object
) -> AsyncIterator[Link]:
    link = Link(server.target("pin", tunnel=tunnel, **changes), give_up_s=20)
    try:
        await link.connect()
        yield link
    finally:
        await link.aclose()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def heard(port: int) -> bytes:
    """All that the port says; nothing when it turns the caller away."""
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
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def process_of(link: Link) -> OpenSsh:
    assert link.openssh.process is not None
    return link.openssh.process


@needs_ssh
async def test_ssh_listens_from_the_start(server: SshServer) -> None:
    async with answering(greet) as port, linked(server) as link:
        forward = await link.forward(port)
        assert (forward.by, link.openssh.reason) == ("openssh", "")
        assert await heard(forward.local_port) == b"hello"
        local = forward.local_port
        with pytest.raises(SshError, match="cannot listen"):
            await link.forward(port, local)
    assert await heard(local) == b""


@needs_ssh
async def test_ssh_that_takes_long_takes_the_port_over_and_what_is_open_stays_open(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssh_forwards, "_SOON_S", 0.0)
    async with answering(echo) as port, linked(server) as link:
        forward = await link.forward(port)
        assert forward.by == "built-in"
        reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
        await wait_until(lambda: link.openssh.process is not None and forward.by != "built-in")
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        # And the end of what one side sends is no end of what the other does.
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        other, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
        writer.write(b"and here")
        assert await other.readexactly(8) == b"and here"
        writer.write_eof()
        assert await other.read() == b""
        writer.close()
        await writer.wait_closed()


@needs_ssh
async def test_when_ssh_is_killed_the_port_goes_on_and_ssh_comes_again(server: SshServer) -> None:
    async with answering(greet) as port, linked(server) as link:
        forward = await link.forward(port)
        first = process_of(link)
        os.kill(first.pid, signal.SIGKILL)
        await wait_until(lambda: forward.by == "built-in")
        assert await heard(forward.local_port) == b"hello"
        await wait_until(lambda: forward.by == "openssh")
        assert process_of(link) is not first
        assert await heard(forward.local_port) == b"hello"


@needs_ssh
@pytest.mark.parametrize("by", ["openssh", "built-in"])
async def test_a_server_that_restarts_is_entered_again_both_ways(
    server: SshServer, by: str
) -> None:
    async with answering(greet) as port, linked(server, tunnel=by) as link:
        forward = await link.forward(port)
        await server.stop()
        await wait_until(lambda: not link.connected)
        await wait_until(lambda: forward.by == "built-in")
        # Turned away at once; the port is held.
        assert await heard(forward.local_port) == b""
        with pytest.raises(OSError):
            await asyncio.start_server(echo, LOOPBACK, forward.local_port, reuse_address=False)
        await server.start()
        await wait_until(lambda: link.connected)
        assert await heard(forward.local_port) == b"hello"
        await wait_until(lambda: forward.by == by)
        assert await heard(forward.local_port) == b"hello"


@needs_ssh
@pytest.mark.parametrize("by", ["openssh", "built-in"])
async def test_a_short_cut_of_the_line_loses_nothing(server: SshServer, by: str) -> None:
    async with relayed(server.port) as relay, answering(echo) as port:
        address = SshAddress(LOOPBACK, relay.port, "tester")
        async with linked(server, tunnel=by, address=address, keepalive_s=30.0) as link:
            forward = await link.forward(port)
            assert forward.by == by
            reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
            writer.write(b"before ")
            assert await reader.readexactly(7) == b"before "
            relay.cut()
            writer.write(b"within ")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(7), 0.3)
            relay.restore()
            writer.write(b"after")
            writer.write_eof()
            assert (await reader.read()).endswith(b"after")
            writer.close()
            await writer.wait_closed()


@needs_ssh
@pytest.mark.parametrize("by", ["openssh", "built-in"])
async def test_a_cut_that_outlasts_every_keep_alive_heals_on_the_same_port(
    server: SshServer, by: str
) -> None:
    """As 60 or 600 s are with keep-alives of 15 s."""
    async with relayed(server.port) as relay, answering(greet) as port:
        address = SshAddress(LOOPBACK, relay.port, "tester")
        async with linked(
            server, tunnel=by, address=address, keepalive_s=1.0, connect_timeout_s=1.0
        ) as link:
            forward = await link.forward(port)
            assert forward.by == by
            relay.cut()
            await wait_until(lambda: not link.connected)
            await wait_until(lambda: forward.by == "built-in")
            assert await heard(forward.local_port) == b""
            relay.restore()
            await wait_until(lambda: link.connected)
            assert await heard(forward.local_port) == b"hello"
            await wait_until(lambda: forward.by == by)
            assert await heard(forward.local_port) == b"hello"


@needs_ssh
async def test_a_machine_with_another_host_key_is_not_entered_by_ssh(server: SshServer) -> None:
    async with answering(greet) as port, linked(server) as link:
        way = (await link.get()).openssh_way()
        assert not isinstance(way, str)
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        changed = replace(way, host_key=" ".join(other.split()[:2]))
        with pytest.raises(SshError, match=r"(?i)host key"):
            await OpenSsh.start(changed)
        # And whoever is refused leaves nothing behind.
        assert not list(Path(tempfile.gettempdir()).glob("gdl-ssh-*"))
        assert await heard((await link.forward(port)).local_port) == b"hello"


@pytest.mark.parametrize("tunnel", ["auto", "built-in", "openssh"])
async def test_without_ssh_or_with_a_server_of_our_own_the_built_in_way_is_taken(
    server: SshServer, tunnel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tunnel == "openssh":
        monkeypatch.setenv("PATH", "/nowhere")
    async with answering(greet) as port, linked(server, tunnel=tunnel) as link:
        forward = await link.forward(port)
        assert forward.by == "built-in" and link.openssh.reason
        assert await heard(forward.local_port) == b"hello"


@needs_ssh
async def test_ssh_that_cannot_enter_is_asked_a_few_times_and_the_reason_told(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a key file that others may read is refused.
    server.identity.chmod(0o644)
    async with answering(greet) as port, linked(server) as link:
        forward = await link.forward(port)
        assert forward.by == "built-in"
        assert "bad permissions" in link.openssh.reason
        assert await heard(forward.local_port) == b"hello"


@needs_ssh
async def test_the_last_port_that_is_closed_ends_ssh(server: SshServer) -> None:
    async with answering(echo) as port, linked(server) as link:
        forwards = [await link.forward(port) for _ in range(2)]
        assert all(forward.by == "openssh" for forward in forwards)
        process = process_of(link)
        first, second = forwards
        await first.aclose()
        await wait_until(lambda: refused(first.local_port))
        reader, writer = await asyncio.open_connection(LOOPBACK, second.local_port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await second.aclose()
        assert await reader.read() == b""
        assert link.connected and not Path(f"/proc/{process.pid}").exists()
        writer.close()
        assert not list(Path(tempfile.gettempdir()).glob("gdl-ssh-*"))


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return True
    writer.close()
    return False


_HOLD = """
import asyncio, sys
from pathlib import Path
from gdl.domain.session import SshAddress
from gdl.ssh.dial import Target
from gdl.ssh.reconnecting import Link

async def main(port, identity, pin, to):
    address = SshAddress("127.0.0.1", int(port), "tester")
    link = Link(Target(address, Path(identity), Path(pin), tunnel="openssh"))
    await link.connect()
    forward = await link.forward(int(to))
    print(forward.by, forward.local_port, link.openssh.process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@needs_ssh
async def test_ssh_does_not_outlive_us_however_we_end(
    server: SshServer, short_folder: Path, tmp_path: Path
) -> None:
    async with answering(echo) as port:
        words = [str(server.port), str(server.identity), str(tmp_path / "pin"), str(port)]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD, *words,
            stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(short_folder)},
        )  # fmt: skip
        assert child.stdout is not None
        by, local, pid = (await child.stdout.readline()).decode().split()
        assert by == "openssh"
        # Somebody is connected, which ssh would wait for.
        reader, writer = await asyncio.open_connection(LOOPBACK, int(local))
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        child.kill()
        await child.wait()
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
        await wait_until(lambda: not alive(int(pid)))
        await wait_until(lambda: refused(int(local)))
        await wait_until(lambda: not list(short_folder.glob("gdl-ssh-*")))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [("auto", "ok", "this computer's ssh (OpenSSH"), ("built-in", "info", "as set")],
)
@needs_ssh
def test_doctor_says_what_carries_tunnels(
    wanted: str, status: str, words: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gdl", "doctor", "--backend", "local", "--json"],
        capture_output=True,
        env={**os.environ, "GDL_DATA_DIR": str(tmp_path / "data"), "GDL_TUNNEL": wanted},
        text=True,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    (found,) = [each for each in findings if each.get("name") == "tunnel"]
    assert found["status"] == status and words in found["detail"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lends a child's sockets")
def test_a_listener_of_a_child_gets_a_longer_queue() -> None:
    code = (
        "import socket, sys\n"
        "server = socket.create_server(('127.0.0.1', 0), backlog=0)\n"
        "print(server.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert not lengthen(child.pid, (LOOPBACK, 1))
        if not lengthen(child.pid, (LOOPBACK, port)):
            pytest.skip("this system does not lend them")
        # Nobody accepts; all are let in at once all the same.
        waiting = [socket.create_connection((LOOPBACK, port), 0.9) for _ in range(50)]
        for each in waiting:
            each.close()


# -- without ssh: what takes over is a stand-in ---------------------------------------------------


class _Refuses:
    async def prepare(self) -> None:
        pass

    async def open_forward(self, port: int, remote_port: int) -> None:
        raise SshError("the port is taken", "")


async def test_a_port_that_is_not_taken_over_is_listened_on_again(server: SshServer) -> None:
    async with answering(greet) as port, linked(server, tunnel="built-in") as link:
        forward = await link.forward(port)
        with pytest.raises(SshError, match="taken"):
            await forward.hand_over(_Refuses())
        assert forward.by == "built-in" and await heard(forward.local_port) == b"hello"


class _TakesAndIsSilent:
    """A taker that listens, and whose answer does not come."""

    def __init__(self) -> None:
        self.listener: socket.socket | None = None

    async def prepare(self) -> None:
        return

    async def open_forward(self, port: int, remote_port: int) -> None:
        self.listener = socket.create_server((LOOPBACK, port))
        await asyncio.Event().wait()


async def test_a_handing_over_that_is_cut_short_ends(server: SshServer) -> None:
    async with answering(greet) as port, linked(server, tunnel="built-in") as link:
        forward, taker = await link.forward(port), _TakesAndIsSilent()
        handing = asyncio.create_task(forward.hand_over(taker))
        await wait_until(lambda: taker.listener)
        handing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handing
        assert taker.listener is not None
        taker.listener.close()


@needs_ssh
async def test_ports_that_are_wanted_at_once(server: SshServer) -> None:
    async with answering(greet) as port, linked(server) as link:
        forwards = await asyncio.gather(*(link.forward(port) for _ in range(5)))
        assert [forward.by for forward in forwards] == ["openssh"] * 5
        # One that was cut short leaves the others their answers.
        process = process_of(link)
        asking = asyncio.create_task(process.open_forward(free_port(), port))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        forwards.append(await link.forward(port))
        assert forwards[-1].by == "openssh"
        for forward in forwards:
            assert await heard(forward.local_port) == b"hello"


async def test_a_closed_port_is_not_handed_over() -> None:
    forward = Forward(lambda: None, 9)
    await forward.listen()
    await forward.aclose()
    await forward.hand_over(_Refuses())
    await forward.take_again()
    assert await refused(forward.local_port)


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0\0\0\x04\0\0\0\1", b"\0\0\0\x08\0\0\0\1\0\0\0\x09", b"\xff" * 12],
    ids=["nothing", "too short", "another version", "endless"],
)
async def test_what_speaks_another_protocol_is_no_mux(answer: bytes, short_folder: Path) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    path = short_folder / "s"
    async with answering(say, path):
        with pytest.raises(SshError, match="does not forward"):
            await Mux.open(path)
    with pytest.raises(SshError):
        await Mux.open(short_folder / "missing")
