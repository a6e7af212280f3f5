"""The SSH layer against a real OpenSSH server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gdl.domain.errors import CommandTimeout, ForwardRefused, GaveWay, SshAuthFailed
from gdl.domain.secret import Secret
from gdl.domain.session import SshAddress
from gdl.ssh import jobs
from gdl.ssh.connection import Connection
from gdl.ssh.dial import Target
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import JobSpec, JobStatus
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Stop, follow
from real_sshd import SSHD, Sshd, real_sshd
from ssh_server import LOOPBACK, answering
from waiting import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(SSHD).exists(), reason="no OpenSSH server is installed"),
]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with real_sshd(tmp_path / "sshd") as server:
        yield server


def _target(sshd: Sshd, folder: Path) -> Target:
    address = SshAddress(sshd.host, sshd.port, sshd.user)
    return Target(address, sshd.identity, folder / "pin", connect_timeout_s=10)


@pytest.fixture
async def link(sshd: Sshd, tmp_path: Path) -> AsyncIterator[Link]:
    made = Link(_target(sshd, tmp_path), give_up_s=10)
    await made.connect()
    yield made
    await made.aclose()


async def test_commands_and_files(link: Link, tmp_path: Path) -> None:
    conn = await link.get()
    assert conn.host_key_fingerprint.startswith("SHA256:")
    result = await conn.run("cat; echo bad >&2; exit 3", input="in ✓")
    assert (result.exit_status, result.stdout, result.stderr) == (3, "in ✓", "bad\n")
    assert (await conn.run("kill -9 $$")).exit_status == -9
    file = tmp_path / "a; 'b' $(c)"
    await conn.put_text(str(file), "text", 0o640)
    assert file.read_text() == "text" and file.stat().st_mode & 0o777 == 0o640
    assert await conn.read_at(str(file), 1, 2) == (b"ex", 4)
    assert await conn.read_at(str(tmp_path / "missing"), 0, 9) == (b"", 0)


async def test_time_out_ends_the_command(link: Link, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    await link.get()
    # On a busy computer it may not have begun yet: a command that never began leaves no mark.
    for limit_s in (3, 10, 30):
        if not mark.exists():
            with pytest.raises(CommandTimeout):
                await link.run(f"echo $$ > {mark}; exec sleep 60", timeout=limit_s)
    await wait_until(lambda: not Path(f"/proc/{mark.read_text().strip()}").exists())


async def test_stranger_is_turned_away(sshd: Sshd, tmp_path: Path) -> None:
    (sshd.identity.parent / "authorized_keys").write_text("")
    with pytest.raises(SshAuthFailed):
        await Connection.open(_target(sshd, tmp_path))


async def test_forward_outlives_a_cut(link: Link, sshd: Sshd) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    async with answering(greet) as port:
        assert await (await link.get()).port_open(port)
        forward = await link.forward(port)
        for _ in range(2):
            reader, writer = await asyncio.open_connection(LOOPBACK, forward.local_port)
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
            await _cut(link, sshd)
            await wait_until(lambda: link.connected)
    assert not await (await link.get()).port_open(port)


async def test_forwarding_refused(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd", "AllowTcpForwarding no") as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            with pytest.raises(ForwardRefused):
                await conn.forward(8000)


async def test_few_sessions_are_shared(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd", "MaxSessions 3") as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            results = await asyncio.gather(*(conn.run(f"sleep 0.1; echo {n}") for n in range(8)))
            assert [int(result.stdout) for result in results] == list(range(8))


async def test_no_session_left_is_an_answer(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd", "MaxSessions 1") as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            began = asyncio.Event()
            holding = asyncio.create_task(conn.talk("echo; sleep 60", lambda *_: began.set()))
            await began.wait()
            assert await conn.answers() and not conn.closed
            holding.cancel()


async def test_what_gave_way_has_not_ended(tmp_path: Path) -> None:
    """Though the server tells how its command ended, which nobody read from any more: with 0."""
    with real_sshd(tmp_path / "sshd", "MaxSessions 1") as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            begun = asyncio.Event()
            looks = "while echo look; do sleep 0.1; done 2>/dev/null; exit 0"
            looking = asyncio.create_task(conn.stream(looks, lambda _: begun.set(), timeout=60))
            await begun.wait()
            assert (await conn.run("echo here")).stdout == "here\n"
            with pytest.raises(GaveWay):
                await looking


async def test_jobs_are_started_and_watched_beside_short_commands(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd", "MaxSessions 1") as server:
        link = Link(_target(server, tmp_path))
        await link.connect()

        async def others() -> None:
            while True:
                await link.run("true", timeout=60)
                await asyncio.sleep(0.3)

        busy = [asyncio.create_task(others()) for _ in range(2)]
        for number in range(4):
            script = f"echo {number} >> {tmp_path / 'told'}"
            watch = await Watch.start(link, JobSpec(f"job{number}", str(tmp_path / "w"), script))
            assert (await watch.wait(timeout=60)).exit_status == 0
            await watch.aclose()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await link.aclose()
    assert (tmp_path / "told").read_text().split() == ["0", "1", "2", "3"]


async def test_who_is_cancelled_leaves_no_session_behind(tmp_path: Path) -> None:
    """Neither while the session is being opened, nor by a command that has begun, and whose channel
    the server keeps until it ends."""
    with real_sshd(tmp_path / "sshd", "MaxSessions 1") as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            assert (await conn.run("true")).ok
            for pause_s in (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01):
                begun = asyncio.create_task(conn.run("sleep 600"))
                await asyncio.sleep(pause_s)
                begun.cancel()
                assert (await conn.run("echo here")).stdout == "here\n"


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
async def test_login_shells_of_other_kinds(shell: str, tmp_path: Path) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    # As sshd does it where that is the login shell.
    forced = f'ForceCommand exec {program} -c "$SSH_ORIGINAL_COMMAND"'
    command = "printf '%s|' \"it's\" '\\\\' '!x' 'ü%d'\nif :; then\n\tcat\nfi\n"
    with real_sshd(tmp_path / "sshd", forced) as server:
        async with await Connection.open(_target(server, tmp_path)) as conn:
            # The first has a session of its own, one of the next a shell that waits.
            for n in range(6):
                result = await conn.run(command, input=f"in {n}")
                assert result.stdout == f"it's|\\\\|!x|ü%d|in {n}", result


async def test_job_outlives_the_connection(link: Link, sshd: Sshd, tmp_path: Path) -> None:
    script = (
        'for n in 1 2 3; do echo "line $n $(printf %s "$KEY" | wc -c)"; sleep 0.2; done\n'
        "while [ ! -e go ]; do sleep 0.05; done\necho end\nexit 4\n"
    )
    spec = JobSpec("server", str(tmp_path / "w"), script, secret_env={"KEY": Secret("12345")})
    job = await jobs.start(link, spec)
    stop = Stop()
    lines: list[str] = []

    async def read() -> None:
        async for chunk in follow(link, job.log, stop=stop):
            lines.extend(chunk.lines)

    reading = asyncio.create_task(read())
    waiting = asyncio.create_task(Watch(link, job).wait(timeout=30))
    await wait_until(lambda: lines)
    await _cut(link, sshd)
    await wait_until(lambda: len(lines) == 3)
    assert await jobs.running_jobs(link, spec.workdir) == [job]
    (tmp_path / "w" / "go").touch()
    assert await waiting == JobStatus(False, 4)
    stop.set()
    await reading
    assert lines == ["line 1 5", "line 2 5", "line 3 5", "end"]


async def test_dead_group_is_noticed_within_a_second(link: Link, tmp_path: Path) -> None:
    job = await jobs.start(link, JobSpec("server", str(tmp_path / "w"), "sleep 60"))
    waiting = asyncio.create_task(Watch(link, job).wait(timeout=30))
    await wait_until(lambda: _sentinels(job.dir))
    os.killpg(job.pid, signal.SIGKILL)
    killed = time.monotonic()
    assert await waiting == JobStatus(False, None)
    assert time.monotonic() - killed < 1


async def test_sentinel_ends_with_its_connection(link: Link, sshd: Sshd, tmp_path: Path) -> None:
    job = await jobs.start(link, JobSpec("server", str(tmp_path / "w"), "sleep 60"))
    waiting = asyncio.create_task(Watch(link, job).wait(timeout=30))
    await wait_until(lambda: _sentinels(job.dir))
    (old,) = _sentinels(job.dir)
    await _cut(link, sshd)
    await wait_until(lambda: old not in _sentinels(job.dir))
    assert (await jobs.stop(link, job)).exit_status == -15
    assert (await waiting).exit_status == -15
    await wait_until(lambda: not _sentinels(job.dir))


def _sentinels(folder: str) -> list[int]:
    """Shells that watch the job: our programs say "printf ." in no other place."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        argument = f"set -- {folder} ".encode()
        if name in ("sh", "dash") and argument in words and b"printf . ||" in words:
            # Its subshells look the same; the one that counts leads them.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            found.append((int(entry.name), parent))
    pids = {pid for pid, _ in found}
    return [pid for pid, parent in found if parent not in pids]


async def _cut(link: Link, sshd: Sshd) -> None:
    """Kill the server's processes of every connection, as a machine that restarts its sshd."""
    before = await link.get()
    listing = Path(f"/proc/{sshd.pid}/task/{sshd.pid}/children").read_text()
    for pid in listing.split():
        os.kill(int(pid), signal.SIGKILL)
    await wait_until(lambda: before.closed)
