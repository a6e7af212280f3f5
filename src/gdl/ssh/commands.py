"""One command over one session channel: output bounded, login noise cut off, time-outs kept."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shlex
from collections.abc import Callable
from typing import cast

import asyncssh

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, Disconnected, SshError
from gdl.domain.text import one_line

OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes kept of each of a command's two streams; what comes after is dropped."""

_NOISE_LIMIT = 64 * 1024
_OPEN_TRIES = 8
_KILL_S = 5.0

OnData = Callable[[bytes, bool], None]
"""Called with each piece of output; True: it is from standard error."""
OnStart = Callable[[asyncssh.SSHClientChannel[bytes]], None]
"""Called with a command's channel once it runs; output of it may have come before."""


class _Session(asyncssh.SSHClientSession[bytes]):
    def __init__(self, on_data: OnData) -> None:
        self._on_data = on_data
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._on_data(data, datatype == asyncssh.EXTENDED_DATA_STDERR)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)


class Unmark:
    """Drops everything up to a mark: what login scripts print before our command starts.

    The mark is RS, a word, a space, the pid of the command's shell, RS.
    """

    def __init__(self, word: str) -> None:
        self._mark = re.compile(b"\x1e%s ([0-9]+)\x1e" % word.encode())
        self._held = b""
        self.pid = 0

    def feed(self, data: bytes) -> bytes:
        if self.pid:
            return data
        self._held += data
        found = self._mark.search(self._held)
        if found is None:
            self._held = self._held[-_NOISE_LIMIT:]
            return b""
        rest = self._held[found.end() :]
        self._held, self.pid = b"", int(found[1])
        return rest

    @property
    def noise(self) -> str:
        """What came instead of the mark, fit for an error message."""
        return one_line(self._held.decode("utf-8", "replace"), 300)


class Bounded:
    """The first OUTPUT_LIMIT bytes of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        space = OUTPUT_LIMIT - len(self._data)
        if space > 0:
            self._data += data[:space]

    def value(self) -> bytes:
        return bytes(self._data)


class Executor:
    """Runs commands on one connection, at most eight at a time.

    OpenSSH allows ten sessions on a connection by default; SFTP takes one.
    """

    def __init__(self, conn: asyncssh.SSHClientConnection, label: str) -> None:
        self._conn = conn
        self._label = label
        self._slots = asyncio.Semaphore(8)
        self._kills: set[asyncio.Task[None]] = set()

    async def execute(
        self,
        command: str,
        on_data: OnData,
        *,
        timeout: float | None,
        input: bytes | None = None,
        on_start: OnStart | None = None,
    ) -> int:
        """Run `command` in /bin/sh, hand its output to `on_data`, and return its exit status
        (-N when signal N ended it).

        on_start: its input stays open, for whoever is given the channel; the command is one that
        ends by itself once its input does.

        Raises CommandTimeout after `timeout` seconds (its channel is closed then), Disconnected,
        and SshError when the machine does not run the command.
        """
        try:
            async with asyncio.timeout(timeout):
                async with self._slots:
                    return await self._execute(command, on_data, input, on_start)
        except TimeoutError:
            raise CommandTimeout(
                f"a command on {self._label} took longer than {timeout or 0:g} s: "
                f"{one_line(command, 80)}",
                "the machine may be busy or stuck; try again or raise the time-out",
            ) from None

    async def _execute(
        self, command: str, on_data: OnData, input: bytes | None, on_start: OnStart | None
    ) -> int:
        word = f"gdl-{secrets.token_hex(4)}"
        out, err = Unmark(word), Unmark(word)

        def sift(data: bytes, is_error: bool) -> None:
            if rest := (err if is_error else out).feed(data):
                on_data(rest, is_error)

        # Whatever the login shell is, the command meets a POSIX one. In the mark's source its
        # control characters are written out, so a shell that echoes its commands cannot fake it.
        sign = f"printf '\\036{word} %s\\036' $$"
        starter = shlex.quote(f'{sign}; {sign} >&2; exec /bin/sh -c "$1"')
        chan, session = await self._open(
            f"exec /bin/sh -c {starter} sh {shlex.quote(command)}", sift
        )
        try:
            # A command that ended before it read its input is no error; its status tells the rest.
            with contextlib.suppress(OSError):
                if input:
                    chan.write(input)
                if on_start is None:
                    chan.write_eof()
                else:
                    on_start(chan)
            # Shielded: a time-out would end the future too, and so hide that the command runs.
            problem = await asyncio.shield(session.ended)
        finally:
            if not session.ended.done():
                self._end(chan, out.pid if on_start is None else 0)
        status = chan.get_returncode()
        if problem is not None or (status is None and self._conn.is_closed()):
            raise self.connection_error(problem)
        if not out.pid:
            detail = out.noise or err.noise or "it said nothing"
            raise SshError(
                f"{self._label} does not run commands: {detail}",
                "log in by hand to see what it wants; another user may be needed",
            )
        if status is None:
            raise SshError(
                f"a command on {self._label} ended without a status", "the machine may be stopping"
            )
        return status

    async def _open(
        self, line: str, on_data: OnData
    ) -> tuple[asyncssh.SSHClientChannel[bytes], _Session]:
        """A session channel that runs `line`. A machine short of sessions is asked again."""
        pauses = Backoff(0.05, 1.0, growth=RETRYING)
        for attempt in range(_OPEN_TRIES):
            if self._conn.is_closed():
                raise self.connection_error(None)
            try:
                chan, session = await self._conn.create_session(
                    lambda: _Session(on_data), line, encoding=None
                )
                return chan, cast(_Session, session)
            except asyncssh.ChannelOpenError as error:
                if self._conn.is_closed():
                    raise self.connection_error(error) from None
                if attempt == _OPEN_TRIES - 1:
                    raise SshError(
                        f"{self._label} opens no session: {one_line(str(error), 200)}",
                        "it may limit sessions (MaxSessions) or allow no commands",
                    ) from None
            except (asyncssh.Error, OSError) as error:
                raise self.connection_error(error) from None
            await asyncio.sleep(next(pauses))
        raise AssertionError("unreachable")

    def connection_error(self, error: Exception | None) -> Disconnected:
        detail = one_line(str(error), 200) if error is not None else "connection closed"
        return Disconnected(
            f"the SSH connection to {self._label} was lost: {detail}", "it is made again"
        )

    def _end(self, chan: asyncssh.SSHClientChannel[bytes], pid: int) -> None:
        """Close a channel whose command still runs, and have the command ended.

        OpenSSH passes no signals on for root, the usual user of rented machines, and a closed
        channel alone ends only who writes to it. So the command's process group is sent TERM by
        another command; servers make a group of each command.
        """
        chan.abort()
        if not pid or self._conn.is_closed():
            return
        task = asyncio.create_task(self._kill(pid), name="ssh-kill")
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    async def _kill(self, pid: int) -> None:
        line = f"kill -TERM -{pid} 2>/dev/null || kill -TERM {pid}"
        with contextlib.suppress(SshError, TimeoutError):
            async with asyncio.timeout(_KILL_S):
                chan, session = await self._open(f"exec /bin/sh -c '{line}'", lambda *_: None)
                try:
                    await asyncio.shield(session.ended)
                finally:
                    chan.abort()

    async def aclose(self) -> None:
        tasks = list(self._kills)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
