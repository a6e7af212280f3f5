"""A real SSH server in this process, for tests: commands run in /bin/sh, SFTP, forwarding.

Not a test itself. Everything it does can be switched while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh

from gdl.domain.session import SshAddress
from gdl.ssh.connection import Target

LOOPBACK = "127.0.0.1"


class _Server(asyncssh.SSHServer):
    def __init__(self, owner: SshServer) -> None:
        self._owner = owner

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._owner.connections.add(conn)
        self._owner.logins += 1
        self._conn = conn

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connections.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        if self._owner.hang_ups:
            self._owner.hang_ups -= 1
            self._conn.abort()
        return True

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        if not self._owner.forwarding:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "administratively prohibited"
            )
        return True

    def session_requested(self) -> _Command:
        owner = self._owner
        if owner.sessions is not None and len(owner.open_sessions) >= owner.sessions:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        return _Command(owner)


class _Command(asyncssh.SSHServerProcess[bytes]):
    """One session. A signal acts at once instead of queueing behind the input."""

    def __init__(self, owner: SshServer) -> None:
        sftp = (lambda chan: asyncssh.SFTPServer(chan)) if owner.sftp else None
        super().__init__(owner.run, sftp, 3, False)
        self.child = 0
        self._sessions = owner.open_sessions
        self._sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._sessions.discard(self)

    def signal_received(self, signal: str) -> None:
        self.kill(getattr(signals, f"SIG{signal}"))

    def kill(self, number: int) -> None:
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child, number)


class SshServer:
    """`port` stays the same over `stop` and `start`. noise: printed before each command's output,
    as a login script would. forced: run in place of every command. path: where it has programs.
    hang_ups: so many logins are answered by the end of the connection. sessions: no more than these
    are open at a time, None: any number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.identity = folder / "id_ed25519"
        self.identity.write_bytes(self.client_key.export_private_key("openssh"))
        self.identity.chmod(0o600)
        self.port = 0
        self.sftp = True
        self.forwarding = True
        self.noise = ""
        self.hang_ups = 0
        self.sessions: int | None = None
        self.open_sessions: set[_Command] = set()
        self.path = os.environ["PATH"]
        self.forced: str | None = None
        self.logins = 0
        self.commands: list[str] = []
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.ciphers: list[str] = []
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        authorized = asyncssh.import_authorized_keys(self.client_key.export_public_key().decode())
        self._acceptor = await asyncssh.listen(
            LOOPBACK,
            self.port,
            server_factory=lambda: _Server(self),
            server_host_keys=[self.host_key],
            authorized_client_keys=authorized,
            encoding=None,
            reuse_address=True,
        )
        self.port = self._acceptor.get_port()

    async def stop(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
            self._acceptor = None
        await self.cut()
        while self._running:
            await asyncio.wait(self._running)

    async def cut(self) -> None:
        """Drop every connection without a word."""
        for conn in list(self.connections):
            conn.abort()
            await conn.wait_closed()

    def target(self, name: str = "pin", **changes: object) -> Target:
        values: dict[str, object] = {
            "address": SshAddress(LOOPBACK, self.port, "tester"),
            "identity_file": self.identity,
            "host_key_file": self.folder / "keys" / name,
            "connect_timeout_s": 5.0,
        }
        return Target(**(values | changes))  # type: ignore[arg-type]

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        assert isinstance(process, _Command)
        task = asyncio.create_task(self._run(process))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    async def _run(self, process: _Command) -> None:
        self.ciphers.append(process.get_extra_info("send_cipher"))
        command = process.command or ""
        self.commands.append(command)
        line = self.forced if self.forced is not None else self.noise + command
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={"PATH": self.path, "HOME": str(self.home)},
            start_new_session=True,
        )
        process.child = child.pid
        assert child.stdin and child.stdout and child.stderr
        feeding = asyncio.create_task(_feed(process, child))
        work = asyncio.gather(
            _pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr), child.wait()
        )
        gone = asyncio.create_task(process.channel.wait_closed())
        either: set[asyncio.Future[Any]] = {work, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            process.kill(signals.SIGKILL)
        with contextlib.suppress(OSError):
            await work
        for task in (feeding, gone):
            task.cancel()
        await asyncio.gather(feeding, gone, return_exceptions=True)
        status = await child.wait()
        process.child = 0
        if status < 0:
            process.exit_with_signal(signals.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)


async def _feed(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process
) -> None:
    assert child.stdin
    try:
        while data := await process.stdin.read(65536):
            child.stdin.write(data)
            await child.stdin.drain()
    except OSError:
        pass
    finally:
        child.stdin.close()


async def _pump(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    open_end = True
    while data := await source.read(65536):
        if open_end:
            try:
                sink.write(data)
                await sink.drain()
            except OSError:
                open_end = False


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(handler: Handler, path: Path | None = None) -> AsyncIterator[int]:
    """A listener whose connections `handler` answers and which closes them after it; its port.
    With `path` it listens there instead of on loopback."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        tasks.discard(task)

    if path is not None:
        listener = await asyncio.start_unix_server(answer, path)
    else:
        listener = await asyncio.start_server(answer, LOOPBACK, 0)
    try:
        yield 0 if path is not None else listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await listener.wait_closed()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[SshServer]:
    server = SshServer(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
