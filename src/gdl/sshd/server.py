"""An SSH server of our own on loopback, which makes this machine look like a rented one.

It takes one key, runs commands in a real shell in the session's work folder, and serves SFTP,
port forwarding to the loopback address it listens on, and interactive shells. A command ends with
its channel, unless it detached itself with setsid.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import struct
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from gdl.sshd.forwarding import Forwarding
from gdl.sshd.pipes import pump_in, pump_out, read_end, reader_of, write_end, writer_of

if TYPE_CHECKING:
    from asyncssh.channel import SSHChannel

LOOPBACK = "127.0.0.1"

_SHELL = "/bin/sh"
_TERM_S = 2.0
"""Between TERM and KILL for a command whose channel went away."""
_TERM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_PASSED_ON = re.compile(r"LANG|LC_[A-Z]+")
"""What a client may set in a command's environment, as OpenSSH's servers are usually set up."""
_SIGNALS = {
    name: getattr(signal, f"SIG{name}")
    for name in ("ABRT", "ALRM", "HUP", "INT", "KILL", "PIPE", "QUIT", "TERM", "USR1", "USR2")
}


class _Command(asyncssh.SSHServerProcess[bytes]):
    """One channel. Signals and window changes act at once, whatever stands in the input; those
    of asyncssh's own processes queue behind it. How such a process is made is undocumented."""

    def __init__(self, server: LocalServer) -> None:
        super().__init__(server.run, server.sftp, 3, False)
        self.pid = 0
        self.terminal = -1

    def signal_received(self, signal: str) -> None:
        if signal in _SIGNALS and self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, _SIGNALS[signal])

    def break_received(self, msec: int) -> bool:
        return False

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self.terminal >= 0:
            _set_size(self.terminal, width, height)


class _Connection(asyncssh.SSHServer):
    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._conn: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._server.connections.add(conn)
        if self._server.closing:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._conn is not None:
            self._server.connections.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        taken = (self._server.client_key, *self._server.further_keys)
        return any(key.public_data == one.public_data for one in taken)

    def session_requested(self) -> asyncssh.SSHServerProcess[bytes] | bool:
        return False if self._server.closing else _Command(self._server)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool | Awaitable[asyncssh.SSHTCPSession[bytes]]:
        if dest_host not in (LOOPBACK, "localhost") or self._conn is None:
            return False
        # Its own address is what this machine calls 127.0.0.1.
        host = dest_host if self._server.address == LOOPBACK else self._server.address
        return Forwarding(self._conn, host, dest_port)


class _Sftp(asyncssh.SFTPServer):
    """Relative paths begin in the work folder, as they would in a home folder."""

    work: Path

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.work), path)  # noqa: PTH118 - bytes


class LocalServer:
    """The server of one session. `environment` is what commands get, apart from the terminal.
    address: of 127.0.0.0/8; where it listens, and where forwarded connections to its 127.0.0.1
    end. client_key may be changed at any time, and holds for later logins, as
    further_keys do."""

    def __init__(
        self,
        work: Path,
        environment: Mapping[str, str],
        host_key: asyncssh.SSHKey,
        client_key: asyncssh.SSHKey,
        *,
        address: str = LOOPBACK,
    ) -> None:
        self.address = address
        self._work = work
        self._environment = dict(environment)
        self._host_key = host_key
        self.client_key = client_key
        self.further_keys: list[asyncssh.SSHKey] = []
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.groups: set[int] = set()
        """Pids of running commands, each the leader of its group."""
        self.closing = False
        self._handlers: set[asyncio.Task[None]] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    @property
    def port(self) -> int:
        return self._acceptor.get_port() if self._acceptor else 0

    async def start(self) -> None:
        """Listen on a free port. Raises OSError."""
        # Cut short while it begins to accept, asyncio would forget an open socket.
        making = asyncio.ensure_future(self._listen())
        try:
            self._acceptor = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait({making})
            if not making.cancelled() and making.exception() is None:
                making.result().close()
            raise

    async def _listen(self, port: int = 0) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: _Connection(self),
            self.address,
            port,
            server_host_keys=[self._host_key],
            encoding=None,
            line_editor=False,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            compression_algs=None,
            login_timeout=20,
            config=None,
        )

    async def aclose(self) -> None:
        """Stop listening, cut the connections, end the commands that hang on them."""
        self.closing = True
        if self._acceptor is not None:
            self._acceptor.close()
        open_ones = list(self.connections)
        for conn in open_ones:
            conn.abort()
        for conn in open_ones:
            await conn.wait_closed()
        if self._handlers:
            _, late = await asyncio.wait(self._handlers, timeout=_TERM_S + 3)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._acceptor is not None:
            await self._acceptor.wait_closed()
            self._acceptor = None

    def sftp(self, chan: SSHChannel[bytes]) -> asyncssh.SFTPServer:
        server = _Sftp(cast("asyncssh.SSHServerChannel[bytes]", chan))
        server.work = self._work
        return server

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Handle one exec or shell request to its end."""
        assert isinstance(process, _Command)
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            if process.subsystem is not None:
                process.exit(1)
            elif process.term_type is not None:
                await self._run_terminal(process)
            else:
                await self._run_piped(process)
        except (OSError, asyncssh.Error) as error:
            with contextlib.suppress(OSError, asyncssh.Error):
                process.stderr.write(f"{error}\n".encode())
                process.exit(126)
        finally:
            self._handlers.discard(task)

    def _command_line(self, process: _Command) -> list[str]:
        if process.command is None:
            return [self._environment.get("SHELL") or _SHELL]
        return [_SHELL, "-c", process.command]

    def _command_environment(self, process: _Command) -> dict[str, str]:
        wished = {k: v for k, v in process.env.items() if _PASSED_ON.fullmatch(k)}
        return {**self._environment, **wished}

    async def _run_piped(self, process: _Command) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stdin, writer = await write_end(stack)
            stdout, out = await read_end(stack)
            stderr, err = await read_end(stack)
            child = await asyncio.create_subprocess_exec(
                *self._command_line(process),
                stdin=stdin.fd,
                stdout=stdout.fd,
                stderr=stderr.fd,
                cwd=self._work,
                env=self._command_environment(process),
                start_new_session=True,
            )
            for end in (stdin, stdout, stderr):
                end.close()
            feeding = asyncio.create_task(pump_in(process.stdin, writer))
            pumps = [
                asyncio.create_task(pump_out(out, process.stdout)),
                asyncio.create_task(pump_out(err, process.stderr)),
            ]
            await self._until_end(process, child, feeding, pumps)

    async def _run_terminal(self, process: _Command) -> None:
        master, slave = os.openpty()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(os.close, master)
            try:
                width, height, *_ = process.term_size
                _set_size(master, width or 80, height or 24)
                environment = self._command_environment(process)
                environment["TERM"] = (
                    process.term_type
                    if process.term_type and _TERM_NAME.fullmatch(process.term_type)
                    else "dumb"
                )
                # Opened by name by the leader of a session, the terminal becomes its own.
                child = await asyncio.create_subprocess_exec(
                    _SHELL,
                    "-c",
                    'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1',
                    "sh",
                    os.ttyname(slave),
                    *self._command_line(process),
                    stdin=slave,
                    stdout=slave,
                    stderr=slave,
                    cwd=self._work,
                    env=environment,
                    start_new_session=True,
                )
            finally:
                os.close(slave)
            process.terminal = master
            out = await reader_of(stack, os.dup(master))
            writer = await writer_of(stack, os.dup(master))
            feeding = asyncio.create_task(pump_in(process.stdin, writer, close=False))
            pumps = [asyncio.create_task(pump_out(out, process.stdout))]
            try:
                await self._until_end(process, child, feeding, pumps)
            finally:
                process.terminal = -1

    async def _until_end(
        self,
        process: _Command,
        child: asyncio.subprocess.Process,
        feeding: asyncio.Task[None],
        pumps: list[asyncio.Task[None]],
    ) -> None:
        """Wait for the command and its output, or for the channel to go away."""
        self.groups.add(child.pid)
        process.pid = child.pid
        ended: asyncio.Future[Any] = asyncio.gather(child.wait(), *pumps)
        gone: asyncio.Future[Any] = asyncio.create_task(process.wait_closed())
        try:
            await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
            if child.returncode is None:
                await _end_group(child)
        finally:
            if child.returncode is None:
                _kill_group(child.pid, signal.SIGKILL)
                await child.wait()
            process.pid = 0
            self.groups.discard(child.pid)
            for task in (feeding, gone, ended):
                task.cancel()
            await asyncio.gather(feeding, gone, ended, *pumps, return_exceptions=True)
        _report(process, child.returncode or 0)


def _report(process: _Command, status: int) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        if status >= 0:
            process.exit(status)
        else:
            name = signal.Signals(-status).name.removeprefix("SIG")
            process.exit_with_signal(name)


async def _end_group(child: asyncio.subprocess.Process) -> None:
    _kill_group(child.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TERM_S):
            await child.wait()
    # Also after an orderly end: its own children in the group do not outlive the channel.
    _kill_group(child.pid, signal.SIGKILL)
    await child.wait()


def _kill_group(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, which)


def _set_size(terminal: int, width: int, height: int) -> None:
    # Not on every system, and the package is also that of pipes, which every client has.
    import fcntl
    import termios

    size = struct.pack("HHHH", min(height, 9999), min(width, 9999), 0, 0)
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
