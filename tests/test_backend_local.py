"""The local backend: a real SSH server on loopback, entered with a real SSH client."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gdl.backends.local.backend import LocalBackend
from gdl.domain.errors import BackendError, OfferGone, SessionGone
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus
from gdl.settings import Settings
from gdl.sshd.server import LocalServer
from local_processes import alive
from waiting import wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
async def backend(settings: Settings) -> AsyncIterator[LocalBackend]:
    made = LocalBackend(settings)
    yield made
    for session in await made.sessions():
        await made.release(session.id)
    await made.aclose()


async def rent(backend: LocalBackend) -> RentAnswer:
    (offer,) = await backend.offers(OfferQuery())
    return await backend.rent(RentRequest(offer, "me", 1, "m"))


@asynccontextmanager
async def enter(session: Session, key: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    assert session.ssh is not None
    async with asyncssh.connect(
        session.ssh.host,
        session.ssh.port,
        username=session.ssh.user,
        client_keys=[key],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as conn:
        yield conn


def key_of(rented: RentAnswer) -> asyncssh.SSHKey:
    assert rented.private_key is not None
    return asyncssh.import_private_key(rented.private_key.reveal())


async def test_commands(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("GDL_MAX_PRICE", "1")
    monkeypatch.setenv("PYTHONPATH", "/x")
    rented = await rent(backend)
    folder = tmp_path / "data" / "local" / rented.session.id
    assert rented.work_dir == backend.work_dir(rented.session.id) == str(folder / "work")
    assert rented.engine_log == backend.log_path(rented.session.id, "engine.log")
    async with enter(rented.session, key_of(rented)) as conn:
        done = await conn.run("pwd; echo err >&2; exit 7")
        assert (done.stdout, done.stderr, done.exit_status) == (f"{folder}/work\n", "err\n", 7)

        killed = await conn.run("kill -9 $$")
        assert killed.exit_signal is not None
        assert killed.exit_signal[0] == "KILL"

        data = os.urandom(300_000)
        echoed = await conn.run("cat", input=data, encoding=None)
        assert echoed.stdout == data

        text = (await conn.run("env", check=True)).stdout
        environment = dict(line.split("=", 1) for line in str(text).splitlines() if "=" in line)
        assert environment["HOME"] == os.environ["HOME"]
        assert environment["GDL_LOCAL_SESSION"] == rented.session.id
        assert not environment.keys() & {"HF_TOKEN", "PYTHONPATH", "GDL_MAX_PRICE"}
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TMPDIR"):
            assert Path(environment[name]).resolve().is_relative_to(folder.resolve())
        # Sockets made in there must fit into 107 bytes.
        assert len(environment["TMPDIR"]) <= 60

        assert (await conn.run("true; no-such-command-here")).exit_status == 127


async def test_output_streams_and_signals_arrive(backend: LocalBackend) -> None:
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        process = await conn.create_process("trap 'echo got; exit 3' INT; echo ready; "
                                            "while :; do sleep 0.05; done")  # fmt: skip
        process.stdin.write_eof()
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("INT")
        assert await process.stdout.readline() == "got\n"
        assert (await process.wait()).exit_status == 3


async def test_a_command_ends_with_its_channel(backend: LocalBackend) -> None:
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        process = await conn.create_process("echo $$; exec sleep 300")
        pid = int(await process.stdout.readline())
        polite = await conn.create_process(
            "trap 'echo bye >ended; exit' TERM; echo ready; while :; do sleep 0.05; done"
        )
        await polite.stdout.readline()
        assert alive(pid)
    await wait_until(lambda: not alive(pid))
    # Told to end before it is made to.
    await wait_until((Path(str(rented.work_dir)) / "ended").exists)


async def start_job(conn: asyncssh.SSHClientConnection, command: str, name: str = "job") -> int:
    """A detached job in the layout that jobs have; its pid."""
    script = (
        f"mkdir -p jobs/{name} && cd jobs/{name} && "
        'setsid sh -c \'echo $$ >pid; cut -d" " -f22 /proc/$$/stat >start; '
        f"{command}' </dev/null >log 2>&1 &"
    )
    await conn.run(script, check=True, timeout=5)
    ask = f"test -s jobs/{name}/start && cat jobs/{name}/pid"

    async def told() -> str:
        return str((await conn.run(ask)).stdout)

    return int(await wait_until(told))


async def test_a_detached_job_outlives_the_channel_and_ends_with_release(
    backend: LocalBackend, tmp_path: Path
) -> None:
    rented = await rent(backend)
    folder = tmp_path / "data" / "local" / rented.session.id
    async with enter(rented.session, key_of(rented)) as conn:
        pid = await start_job(conn, "exec sleep 300")
    assert alive(pid)

    await backend.release(rented.session.id)
    assert not alive(pid)
    assert not folder.exists()
    with pytest.raises(SessionGone):
        await backend.session(rented.session.id)
    with pytest.raises(ConnectionRefusedError):
        async with enter(rented.session, key_of(rented)):
            pass


async def test_release_finds_those_that_hide(backend: LocalBackend) -> None:
    """No mark in the environment; a child of nobody any more; not started as a job."""
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        bare = await start_job(conn, 'exec env -i sh -c "(sleep 300 &); sleep 300 & wait"', "bare")
        marked = await conn.run("setsid sleep 300 >/dev/null 2>&1 & echo $!")
        pids = [bare, int(str(marked.stdout))]
        for entry in Path("/proc").glob("[0-9]*/stat"):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == bare:
                pids.append(int(entry.parent.name))
    assert len(pids) >= 4
    assert all(alive(pid) for pid in pids)
    await backend.release(rented.session.id)
    assert not any(alive(pid) for pid in pids)


async def test_release_insists(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdl.backends.local.backend._GRACE_S", 0.2)
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        pid = await start_job(conn, 'trap "" TERM; while :; do sleep 0.05; done')
    await backend.release(rented.session.id)
    assert not alive(pid)


async def test_release_leaves_everybody_else_alone(backend: LocalBackend) -> None:
    first, second = await rent(backend), await rent(backend)
    async with enter(second.session, key_of(second)) as conn:
        theirs = await start_job(conn, "exec sleep 300")
    ours = await asyncio.create_subprocess_exec("sleep", "300")
    # Pid files left from before the process that has the pid now.
    for name, born in (("ticks", "1\n"), ("words", "Mon Jan  1 00:00:00 2024\n"), ("silent", "")):
        stale = Path(str(first.work_dir)) / "jobs" / name
        stale.mkdir(parents=True)
        (stale / "pid").write_text(f"{ours.pid}\n")
        (stale / "start").write_text(born)
        os.utime(stale / "pid", (1_700_000_000, 1_700_000_000))
    (Path(str(first.work_dir)) / "jobs" / "odd").mkdir()
    (Path(str(first.work_dir)) / "jobs" / "odd" / "pid").write_text("-1; reboot")

    # One that names this very program, which began before the file was written.
    own = Path(str(first.work_dir)) / "jobs" / "own"
    own.mkdir()
    (own / "pid").write_text(f"{os.getpid()}\n")

    await backend.release(first.session.id)
    assert alive(theirs)
    assert ours.returncode is None
    ours.kill()
    await ours.wait()
    assert (await backend.session(second.session.id)).status is SessionStatus.RUNNING


async def test_a_kept_session_is_opened_again(settings: Settings) -> None:
    first = LocalBackend(settings)
    rented = await rent(first)
    key = key_of(rented)
    async with enter(rented.session, key) as conn:
        pid = await start_job(conn, "exec sleep 300")
        host_key = conn.get_server_host_key()
    await first.aclose()
    assert alive(pid)

    second = LocalBackend(settings)
    (listed,) = await second.sessions()
    assert (listed.id, listed.created_at) == (rented.session.id, rented.session.created_at)
    again = await second.session(rented.session.id)
    async with enter(again, key) as conn:
        assert conn.get_server_host_key() == host_key
        assert (await conn.run("cat jobs/job/pid")).stdout == f"{pid}\n"
    await second.release(again.id)
    await second.aclose()
    assert not alive(pid)
    assert await LocalBackend(settings).sessions() == []


async def test_release_without_opening(settings: Settings) -> None:
    first = LocalBackend(settings)
    rented = await rent(first)
    async with enter(rented.session, key_of(rented)) as conn:
        pid = await start_job(conn, "exec sleep 300")
    await first.aclose()
    second = LocalBackend(settings)
    await second.release(rented.session.id)
    await second.release(rented.session.id)
    assert not alive(pid)
    await second.aclose()


async def test_a_damaged_session_can_still_be_released(settings: Settings) -> None:
    first = LocalBackend(settings)
    rented = await rent(first)
    await first.aclose()
    folder = Path(str(rented.work_dir)).parent
    (folder / "host_key").write_text("broken")
    (folder / "session.json").write_text("{")
    second = LocalBackend(settings)
    session = await second.session(rented.session.id)
    assert session.status is SessionStatus.FAILED
    assert session.error
    await second.release(rented.session.id)
    assert not folder.exists()
    await second.aclose()


async def test_only_our_key(backend: LocalBackend) -> None:
    rented = await rent(backend)
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        async with enter(rented.session, stranger):
            pass
    assert rented.session.ssh is not None
    with pytest.raises(asyncssh.PermissionDenied):
        async with asyncssh.connect(
            "127.0.0.1", rented.session.ssh.port, password="x", client_keys=None, known_hosts=None,
            config=None, agent_path=None,
        ):  # fmt: skip
            pass


async def test_forwarding_to_loopback_alone(backend: LocalBackend) -> None:
    async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    target = await asyncio.start_server(hello, "127.0.0.1", 0)
    port = target.sockets[0].getsockname()[1]
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        listener = await conn.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        assert await reader.read() == b"hello"
        writer.close()
        listener.close()
        with pytest.raises(asyncssh.ChannelOpenError):
            await conn.open_connection("198.51.100.1", 80)
    target.close()
    await target.wait_closed()


async def test_sftp_begins_in_the_work_folder(backend: LocalBackend, tmp_path: Path) -> None:
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn, conn.start_sftp_client() as sftp:
        async with sftp.open("note.txt", "w") as file:
            await file.write("hi")
        assert await sftp.realpath(".") == rented.work_dir
        await sftp.put(__file__, str(tmp_path / "copy"))
    assert (Path(str(rented.work_dir)) / "note.txt").read_text() == "hi"
    assert (tmp_path / "copy").read_bytes() == Path(__file__).read_bytes()


async def test_a_shell_on_a_terminal(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    rented = await rent(backend)
    async with enter(rented.session, key_of(rented)) as conn:
        process = await conn.create_process(term_type="xterm", term_size=(91, 33))
        process.stdin.write("stty size; tty; echo $TERM; exit 4\n")
        text = await process.stdout.read()
        assert "33 91" in text
        assert "/dev/pts/" in text
        assert "xterm" in text
        assert (await process.wait()).exit_status == 4

        resized = await conn.create_process(
            "read x; stty size", term_type="x y", term_size=(80, 24)
        )
        resized.change_terminal_size(100, 40)
        resized.stdin.write("\n")
        assert "40 100" in await resized.stdout.read()

        hung = await conn.create_process("echo pid $$; exec sleep 300", term_type="xterm")
        pid = int((await hung.stdout.readline()).split()[1])
    await wait_until(lambda: not alive(pid))


async def test_files_are_private(backend: LocalBackend) -> None:
    rented = await rent(backend)
    folder = Path(str(rented.work_dir)).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("host_key", "client_key", "session.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(rented)


async def test_release_removes_what_resists_removal(backend: LocalBackend) -> None:
    rented = await rent(backend)
    locked = Path(str(rented.work_dir)) / "locked"
    locked.mkdir()
    (locked / "file").touch()
    locked.chmod(0o500)
    await backend.release(rented.session.id)
    assert not locked.exists()
    # It was moved aside, and is deleted by a process that nobody waits for.
    aside = locked.parents[3] / "removed"
    await wait_until(lambda: not aside.exists(), "nothing is left on the disk")


@pytest.mark.parametrize("ident", ["", "..", "local-", "local-../../x", "local-0123456", "/etc"])
async def test_what_is_no_session(ident: str, backend: LocalBackend) -> None:
    with pytest.raises(SessionGone):
        await backend.session(ident)
    await backend.release(ident)
    with pytest.raises(SessionGone):
        backend.work_dir(ident)


async def test_an_offer_of_somebody_else(backend: LocalBackend) -> None:
    with pytest.raises(OfferGone):
        await backend.rent(RentRequest(Offer("x", "local", "x", "", 0, 0, 0), "me", 1, "m"))


async def test_a_data_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "local").write_text("a file")
    backend = LocalBackend(Settings(data_dir=tmp_path))
    (offer,) = await backend.offers(OfferQuery())
    with pytest.raises(Exception, match="cannot be set up") as caught:
        await backend.rent(RentRequest(offer, "me", 1, "m"))
    assert not isinstance(caught.value, BackendError)


async def test_gpus_are_told_by_nvidia_smi(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (cpu,) = await backend.offers(OfferQuery())
    assert cpu.gpu_count == 0
    assert cpu.gpu_name.startswith("CPU (")

    program.write_text("#!/bin/sh\nprintf 'NVIDIA A100, 81920\\nNVIDIA A100, 81920\\n'\n")
    program.chmod(0o755)
    (gpu,) = await LocalBackend(Settings(data_dir=tmp_path)).offers(OfferQuery())
    assert (gpu.gpu_name, gpu.gpu_count, gpu.vram_gb) == ("NVIDIA A100", 2, 80.0)

    program.write_text("#!/bin/sh\necho Failed to initialize NVML; exit 9\n")
    (broken,) = await LocalBackend(Settings(data_dir=tmp_path)).offers(OfferQuery())
    assert broken.gpu_count == 0


async def test_check(backend: LocalBackend) -> None:
    assert [f.name for f in await backend.check()] == ["this machine", "disk"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
async def test_a_start_that_is_cut_short_leaves_no_socket(tmp_path: Path) -> None:
    """Wherever it is cancelled."""
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def starting(turns: int) -> None:
        server = LocalServer(tmp_path, {}, key, key)
        task = asyncio.create_task(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.aclose()

    await starting(0)
    before = len(os.listdir("/proc/self/fd"))
    for turns in range(1, 12):
        await starting(turns)
    assert len(os.listdir("/proc/self/fd")) == before
