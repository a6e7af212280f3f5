"""One connection against a real server: entering, refusing, running, files, ports."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from gdl.domain.errors import (
    CommandTimeout,
    ForwardRefused,
    HostKeyChanged,
    SshAuthFailed,
    SshError,
    UsageError,
)
from gdl.domain.session import SshAddress
from gdl.ssh.connection import OUTPUT_LIMIT, Connection
from gdl.ssh.dial import Target
from ssh_server import LOOPBACK, SshServer, answering, serving
from waiting import wait_until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
async def conn(server: SshServer) -> AsyncIterator[Connection]:
    async with await Connection.open(server.target()) as opened:
        yield opened


# -- entering ------------------------------------------------------------------------------------


async def test_first_use_pins_the_host_key(server: SshServer) -> None:
    target = server.target()
    async with await Connection.open(target) as conn:
        assert conn.host_key_fingerprint == server.host_key.get_fingerprint()
    assert stat.S_IMODE(target.host_key_file.stat().st_mode) == 0o600
    assert os.listdir(target.host_key_file.parent) == ["pin"]
    async with await Connection.open(target) as again:
        assert (await again.run("echo in")).stdout == "in\n"


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_changed_host_key_is_refused(server: SshServer, kind: str) -> None:
    target = server.target()
    await (await Connection.open(target)).aclose()
    pinned = target.host_key_file.read_bytes()
    await server.stop()
    server.host_key = asyncssh.generate_private_key(kind)
    await server.start()
    with pytest.raises(HostKeyChanged, match="has changed"):
        await Connection.open(target)
    assert target.host_key_file.read_bytes() == pinned


# -- the user's own known_hosts --------------------------------------------------------------------


@pytest.fixture
def known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "home" / ".ssh" / "known_hosts"
    file.parent.mkdir(parents=True)
    return file


def known_line(server: SshServer, key: asyncssh.SSHKey, *, name: str = "", marker: str = "") -> str:
    host = name or f"[{LOOPBACK}]:{server.port}"
    public = key.export_public_key("openssh").decode().strip()
    return f"{marker} {host} {public}\n".lstrip()


async def test_the_key_that_the_user_knows_is_accepted_and_pinned(
    server: SshServer, known_hosts: Path
) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    lines = known_line(server, other) + "no line at all\n" + known_line(server, server.host_key)
    known_hosts.write_text(lines)
    async with await Connection.open(server.target(known_hosts=True)) as conn:
        assert conn.host_key_fingerprint == server.host_key.get_fingerprint()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_another_key_than_the_user_knows_is_refused_at_the_first_connection(
    server: SshServer, known_hosts: Path, kind: str
) -> None:
    known_hosts.write_text(known_line(server, asyncssh.generate_private_key(kind)))
    target = server.target(known_hosts=True)
    with pytest.raises(HostKeyChanged, match="not the one in your known_hosts"):
        await Connection.open(target)
    assert not target.host_key_file.exists()
    # A rented machine's address was somebody else's before: what the user knew says nothing of it.
    async with await Connection.open(server.target()) as conn:
        assert (await conn.run("echo in")).stdout == "in\n"


async def test_a_revoked_key_is_refused_and_a_name_without_its_port_binds_nobody(
    server: SshServer, known_hosts: Path
) -> None:
    known_hosts.write_text(
        known_line(server, asyncssh.generate_private_key("ssh-ed25519"), name=LOOPBACK)
    )
    async with await Connection.open(server.target(known_hosts=True)):
        pass
    known_hosts.write_text(known_line(server, server.host_key, marker="@revoked"))
    with pytest.raises(HostKeyChanged):
        await Connection.open(server.target("other", known_hosts=True))


async def test_hashed_names_are_understood(server: SshServer, known_hosts: Path) -> None:
    known_hosts.write_text(known_line(server, asyncssh.generate_private_key("ssh-ed25519")))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known_hosts], check=True, capture_output=True)
    assert LOOPBACK not in known_hosts.read_text()
    with pytest.raises(HostKeyChanged):
        await Connection.open(server.target(known_hosts=True))


async def test_a_server_that_hangs_up_on_a_login_sent_at_once_is_asked_slowly(
    server: SshServer,
) -> None:
    server.hang_ups = 1
    async with await Connection.open(server.target()) as conn:
        assert (await conn.run("echo in")).stdout == "in\n"
    assert server.logins == 2
    server.hang_ups = 5
    with pytest.raises(SshError, match="failed"):
        await Connection.open(server.target())
    assert server.logins == 4


async def test_an_rsa_key_logs_in_in_the_usual_way(server: SshServer, tmp_path: Path) -> None:
    """It signs in several ways, of which the server has to name one first."""
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    identity = tmp_path / "id_rsa"
    key.write_private_key(identity)
    await server.stop()
    server.client_key = key
    await server.start()
    async with await Connection.open(server.target(identity_file=identity)) as conn:
        assert (await conn.run("echo in")).stdout == "in\n"


async def test_refused_key_pins_nothing(server: SshServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    target = server.target(identity_file=other)
    with pytest.raises(SshAuthFailed):
        await Connection.open(target)
    assert not target.host_key_file.exists()


async def test_agent_and_default_keys_stay_out(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key lies in the default place and in an agent; a wrong one was named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_bytes(server.identity.read_bytes())
    asked = []

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(5))
        # It holds no keys.
        writer.write(b"\x00\x00\x00\x05\x0c\x00\x00\x00\x00")
        await reader.read()

    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    wrong = tmp_path / "wrong"
    wrong.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    async with answering(agent, tmp_path / "agent"):
        with pytest.raises(SshAuthFailed):
            await Connection.open(server.target(identity_file=wrong))
        with pytest.raises(UsageError):
            await Connection.open(server.target(identity_file=None))
        assert asked == []
        allowed = server.target(identity_file=None, agent_auth=True)
        async with await Connection.open(allowed) as conn:
            assert (await conn.run("true")).ok
        assert asked


async def test_config_alias_with_jump_host(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host door\n  HostName {LOOPBACK}\n  Port {server.port}\n  User doorman\n"
        f"  IdentityFile {server.identity}\n"
        f"Host inner\n  HostName {LOOPBACK}\n  Port {server.port}\n  User tester\n"
        f"  IdentityFile {server.identity}\n  ProxyJump door\n"
    )
    target = server.target(config_alias="inner", identity_file=None)
    async with await Connection.open(target) as conn:
        assert (await conn.run("echo there")).stdout == "there\n"
        assert len(server.connections) == 2
    names = sorted(os.listdir(target.host_key_file.parent))
    assert names == ["pin", "pin.hop-door"]
    assert not (tmp_path / ".ssh" / "known_hosts").exists()


async def test_unreachable_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        with pytest.raises(SshError, match="refuses the connection") as caught:
            await Connection.open(_bare(port, tmp_path))
    assert caught.value.hint


async def test_server_that_never_speaks(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with answering(silent) as port:
        started = time.monotonic()
        with pytest.raises(SshError, match=r"no SSH answer .* within 0\.3 s"):
            await Connection.open(_bare(port, tmp_path))
        assert time.monotonic() - started < 2


async def test_server_that_speaks_something_else(tmp_path: Path) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 \x1b[2JBad\r\n\r\n" * 400)
        await writer.drain()

    async with answering(web) as port:
        with pytest.raises(SshError) as caught:
            await Connection.open(_bare(port, tmp_path))
        assert "\x1b" not in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the key file"),
        (b"not a key\n", "not a private key"),
        ("encrypted", "passphrase"),
    ],
)
async def test_unusable_key_files(tmp_path: Path, content: bytes | str | None, words: str) -> None:
    file = tmp_path / "key"
    if content == "encrypted":
        key = asyncssh.generate_private_key("ssh-ed25519")
        file.write_bytes(key.export_private_key("pkcs8-pem", passphrase="open"))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    target = Target(SshAddress(LOOPBACK, 1, "x"), file, tmp_path / "pin", connect_timeout_s=5)
    with pytest.raises(UsageError, match=words) as caught:
        await Connection.open(target)
    assert caught.value.hint


async def test_broken_pin_is_not_replaced(server: SshServer) -> None:
    target = server.target()
    target.host_key_file.parent.mkdir()
    target.host_key_file.write_text("scribble")
    with pytest.raises(UsageError, match="pinned host key"):
        await Connection.open(target)
    assert target.host_key_file.read_text() == "scribble"


def _bare(port: int, folder: Path) -> Target:
    key = folder / "key"
    key.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    address = SshAddress(LOOPBACK, port, "tester")
    return Target(address, key, folder / "pin", connect_timeout_s=0.3)


# -- running -------------------------------------------------------------------------------------


async def test_run_keeps_streams_and_status_apart(conn: Connection) -> None:
    result = await conn.run("echo out; echo err >&2; exit 3")
    assert (result.exit_status, result.stdout, result.stderr) == (3, "out\n", "err\n")


async def test_signal_is_a_negative_status(conn: Connection) -> None:
    assert (await conn.run("kill -9 $$")).exit_status == -9
    assert (await conn.run("kill -TERM $$")).exit_status == -15


async def test_input_arrives_and_ends(conn: Connection, server: SshServer) -> None:
    text = "geheim ✓\n" * 50_000
    result = await conn.run("wc -c; ! read more", input=text)
    assert result.ok and int(result.stdout) == len(text.encode())
    assert "wc -c" in server.commands[0]
    assert not any("geheim" in command for command in server.commands)


async def test_input_that_nobody_reads(conn: Connection) -> None:
    assert (await conn.run("exit 4", input="x" * 3_000_000)).exit_status == 4


async def test_without_input_nothing_waits(conn: Connection) -> None:
    assert (await conn.run("cat", timeout=5)).stdout == ""


async def test_output_is_bounded(conn: Connection) -> None:
    result = await conn.run("head -c 6000000 /dev/zero | tr '\\0' x; echo e >&2")
    assert result.ok and len(result.stdout) == OUTPUT_LIMIT and result.stderr == "e\n"


async def test_time_out_ends_the_command(conn: Connection, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(CommandTimeout, match=r"longer than 1 s"):
        await conn.run(f"echo $$ > {mark}; exec sleep 60", timeout=1)
    await wait_until(lambda: not Path(f"/proc/{mark.read_text().strip()}").exists())
    assert (await conn.run("echo fine")).stdout == "fine\n"


async def test_login_noise_is_cut_off(conn: Connection, server: SshServer) -> None:
    server.noise = "echo Welcome to \\033[31mExample; echo hush >&2; "
    result = await conn.run("echo data; echo bad >&2")
    assert (result.stdout, result.stderr) == ("data\n", "bad\n")


async def test_account_that_runs_no_commands(conn: Connection, server: SshServer) -> None:
    server.forced = "echo 'Please login as the user \"ubuntu\" rather than root.'; exit 142"
    with pytest.raises(SshError, match='Please login as the user "ubuntu"'):
        await conn.run("echo data")


async def test_cut_in_the_middle_of_a_command(conn: Connection, server: SshServer) -> None:
    running = asyncio.create_task(conn.run("sleep 60"))
    await wait_until(lambda: bool(server.commands))
    await server.cut()
    with pytest.raises(SshError, match="lost"):
        await running
    await conn.wait_closed()
    assert conn.closed
    with pytest.raises(SshError):
        await conn.run("true")


async def test_many_commands_at_once(conn: Connection) -> None:
    results = await asyncio.gather(*(conn.run(f"echo {n}") for n in range(25)))
    assert [int(result.stdout) for result in results] == list(range(25))


async def test_stream_hands_on_batches_in_order(conn: Connection) -> None:
    chunks: list[bytes] = []
    status = await conn.stream("seq 1 20000; exit 5", chunks.append, timeout=10)
    assert status == 5
    assert b"".join(chunks).split() == [str(n).encode() for n in range(1, 20001)]
    assert len(chunks) < 40


async def test_cipher_is_aes_gcm(conn: Connection, server: SshServer) -> None:
    await conn.run("true")
    assert set(server.ciphers) == {"aes128-gcm@openssh.com"}


# -- files ---------------------------------------------------------------------------------------


@pytest.fixture(params=["sftp", "no sftp"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection with and without SFTP."""
    server = SshServer(tmp_path)
    server.sftp = request.param == "sftp"
    await server.start()
    async with await Connection.open(server.target()) as opened:
        yield opened
        assert not any("geheim" in command for command in server.commands)
    await server.stop()


async def test_put_text(either: Connection, tmp_path: Path) -> None:
    file = tmp_path / "a 'b'; touch pwned $(touch pwned)"
    file.write_text("old and longer than the new text")
    file.chmod(0o644)
    await either.put_text(str(file), "geheim ✓\n")
    assert file.read_text() == "geheim ✓\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await either.put_text(str(file), "#!/bin/sh\n", 0o700)
    assert stat.S_IMODE(file.stat().st_mode) == 0o700
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {file.name, "home", "keys", "id_ed25519"}


async def test_put_text_where_nothing_can_be_written(either: Connection, tmp_path: Path) -> None:
    with pytest.raises(SshError, match="cannot write"):
        await either.put_text(str(tmp_path / "missing" / "file"), "geheim")


async def test_read_at(either: Connection, tmp_path: Path) -> None:
    file = tmp_path / 'it\'s a "log"\n$(id)'
    assert await either.read_at(str(file), 0, 100) == (b"", 0)
    file.write_bytes(b"0123456789\xff\x00")
    assert await either.read_at(str(file), 0, 4) == (b"0123", 12)
    assert await either.read_at(str(file), 8, 100) == (b"89\xff\x00", 12)
    assert await either.read_at(str(file), 12, 100) == (b"", 12)
    assert await either.read_at(str(file), 99, 100) == (b"", 12)


async def test_read_at_of_a_folder_is_an_error(either: Connection, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(SshError, match="cannot read"):
        await either.read_at(str(tmp_path / "dir"), 0, 100)


# -- ports ---------------------------------------------------------------------------------------


async def test_forward_carries_both_ways(conn: Connection) -> None:
    await carries_both_ways(conn)


def test_forward_carries_both_ways_on_the_faster_loop(tmp_path: Path) -> None:
    """Which cannot be told to wait before it has read a first piece."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with serving(tmp_path) as server, await Connection.open(server.target()) as conn:
            await carries_both_ways(conn)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def carries_both_ways(conn: Connection) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()

    text = b"hello " * 500_000

    async def call(port: int) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(text)
        # The other side answers only after it saw this end.
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async with answering(shout) as port:
        assert await conn.port_open(port)
        forward = await conn.forward(port)
        answers = await asyncio.gather(*(call(forward.local_port) for _ in range(3)))
        assert answers == [text.upper()] * 3
        await forward.aclose()
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, forward.local_port)


async def test_a_small_piece_is_one_packet(conn: Connection) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    async with answering(echo) as port:
        forward = await conn.forward(port)
        reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        before = conn.raw._send_seq
        for _ in range(50):
            writer.write(b"x" * 8)
            assert await reader.readexactly(8) == b"x" * 8
        assert 50 <= conn.raw._send_seq - before < 60
        writer.close()
        await writer.wait_closed()
        await forward.aclose()


async def test_nothing_listens_yet(conn: Connection) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        assert not await conn.port_open(port)
        forward = await conn.forward(port)
        reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_forwarding_refused(conn: Connection, server: SshServer) -> None:
    server.forwarding = False
    with pytest.raises(ForwardRefused):
        await conn.forward(8000)
    with pytest.raises(ForwardRefused):
        await conn.port_open(8000)


async def test_local_port_taken(conn: Connection) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        with pytest.raises(SshError, match="cannot listen"):
            await conn.forward(8000, taken.getsockname()[1])
