"""One command over one session channel: output bounded, login noise cut off, time-outs kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import asyncssh

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, Disconnected, SshError
from gdl.domain.text import one_line
from gdl.ssh import waiting_shell
from gdl.ssh.output import NOISE_LIMIT, Unmark

_OPEN_TRIES = 12
_KILL_S = 5.0
_SPARES = 3
"""Shells that wait for a command each."""
_GIVE_WAY_AFTER = 3
"""So many refusals in a row are more than sessions that are just about to end."""

OnData = Callable[[bytes, bool], None]
"""Called with each piece of output; True: it is from standard error."""
OnStart = Callable[[asyncssh.SSHClientChannel[bytes]], None]
"""Called with a command's channel once it runs; output of it may have come before."""


class _Session(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self._on_data: OnData | None = None
        self._early: list[tuple[bytes, bool]] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def take(self, on_data: OnData) -> None:
        """Hand on what came so far, and what comes."""
        self._on_data = on_data
        for data, is_error in self._early:
            on_data(data, is_error)
        self._early.clear()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        is_error = datatype == asyncssh.EXTENDED_DATA_STDERR
        if self._on_data is not None:
            self._on_data(data, is_error)
        elif sum(len(early) for early, _ in self._early) < NOISE_LIMIT:
            self._early.append((data, is_error))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)


@dataclass(slots=True)
class _Shell:
    """A session in which a command runs, or a shell that waits for one (waiting_shell.py). word:
    what its mark has."""

    word: str
    chan: asyncssh.SSHClientChannel[bytes]
    session: _Session


class Rank(IntEnum):
    """What gives way to what on a machine that is short of sessions. All but SHORT take long, and
    are begun again by whoever wanted them."""

    LOG = 0
    SAMPLES = 1
    WATCH = 2
    SHORT = 3


class Executor:
    """Runs commands on one connection, at most six at a time, and keeps shells that wait for the
    next ones.

    OpenSSH allows ten sessions on a connection by default; SFTP takes one.
    """

    def __init__(self, conn: asyncssh.SSHClientConnection, label: str) -> None:
        self._conn = conn
        self._label = label
        self._slots = asyncio.Semaphore(6)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[_Shell] = []
        self._running: dict[_Session, tuple[Rank, asyncssh.SSHClientChannel[bytes]]] = {}
        self._preparing = 0
        self._spares = _SPARES

    async def execute(
        self,
        command: str,
        on_data: OnData,
        *,
        timeout: float | None,
        input: bytes = b"",
        on_start: OnStart | None = None,
        rank: Rank = Rank.SHORT,
    ) -> int:
        """Run `command` in /bin/sh, hand its output to `on_data`, and return its exit status
        (-N when signal N ended it).

        on_start: its input stays open, for whoever is given the channel; the command is one that
        ends by itself once its input does. rank: SAMPLES take long anyway, so that the shells that
        wait are left to others.

        Raises CommandTimeout after `timeout` seconds (its channel is closed then), Disconnected,
        and SshError when the machine does not run the command.
        """
        try:
            async with asyncio.timeout(timeout):
                async with self._slots:
                    shell = None if rank is Rank.SAMPLES else self._take()
                    return await self._execute(shell, command, on_data, input, on_start, rank)
        except TimeoutError:
            raise CommandTimeout(
                f"a command on {self._label} took longer than {timeout or 0:g} s: "
                f"{one_line(command, 80)}",
                "the machine may be busy or stuck; try again or raise the time-out",
            ) from None

    async def _execute(
        self,
        shell: _Shell | None,
        command: str,
        on_data: OnData,
        input: bytes,
        on_start: OnStart | None,
        rank: Rank,
    ) -> int:
        self._prepare()
        if shell is not None:
            handed = f"{command}\n{shell.word}\n".encode("utf-8", "surrogateescape")
            status = await self._run_in(shell, on_data, handed + input, on_start, rank)
            if status is not None:
                return status
            # It had ended before it could read its command.
        shell = await self._begin(command, rank)
        status = await self._run_in(shell, on_data, input, on_start, rank, fresh=True)
        assert status is not None
        return status

    async def _run_in(
        self,
        shell: _Shell,
        on_data: OnData,
        input: bytes,
        on_start: OnStart | None,
        rank: Rank,
        *,
        fresh: bool = False,
    ) -> int | None:
        """The exit status of what runs in a shell. fresh: it has its command already. Otherwise
        None when the shell ended without beginning with it."""
        chan, session = shell.chan, shell.session
        out, err = Unmark(shell.word), Unmark(shell.word)

        def sift(data: bytes, is_error: bool) -> None:
            if rest := (err if is_error else out).feed(data):
                on_data(rest, is_error)

        session.take(sift)
        self._running[session] = rank, chan
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
            del self._running[session]
            if not session.ended.done():
                self._end(chan, out.pid if on_start is None else 0)
        status = chan.get_returncode()
        if not fresh and not out.pid:
            return None
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

    async def _begin(self, command: str, rank: Rank) -> _Shell:
        """Run a command in a session of its own."""
        word = waiting_shell.new_word()
        chan, session = await self._open(waiting_shell.at_once(word, command), rank)
        return _Shell(word, chan, session)

    # -- shells that wait ------------------------------------------------------------------------

    def _take(self) -> _Shell | None:
        while self._waiting:
            shell = self._waiting.pop(0)
            if not shell.session.ended.done():
                return shell
        return None

    def _prepare(self) -> None:
        """Have shells wait for the next commands."""
        for _ in range(self._spares - len(self._waiting) - self._preparing):
            self._preparing += 1
            self._spawn(self._have_one_wait(), "ssh-prepare")

    async def _have_one_wait(self) -> None:
        word = waiting_shell.new_word()
        try:
            chan, session = await self._conn.create_session(
                _Session, waiting_shell.program(word), encoding=None
            )
        except asyncssh.ChannelOpenError:
            # The machine is short of sessions: they are for the commands alone.
            self.spare_sessions()
        except (asyncssh.Error, OSError):
            return  # whoever has a command for it will see
        else:
            if self._spares:
                self._waiting.append(_Shell(word, chan, cast(_Session, session)))
            else:
                chan.abort()  # they were needed meanwhile
        finally:
            self._preparing -= 1

    def spare_sessions(self) -> None:
        """Keep no shells waiting from now on."""
        self._spares, waiting = 0, self._waiting
        self._waiting = []
        for shell in waiting:
            shell.chan.abort()

    @property
    def short_of_sessions(self) -> bool:
        """The machine has refused one before."""
        return self._spares == 0

    async def _open(
        self, line: str, rank: Rank = Rank.SHORT
    ) -> tuple[asyncssh.SSHClientChannel[bytes], _Session]:
        """A session channel that runs `line`. A machine short of sessions is asked again: what is
        ranked lower gives way, and the end of another short command is waited for."""
        pauses = Backoff(0.05, 1.0, growth=RETRYING)
        refused = 0
        while True:
            if self._conn.is_closed():
                raise self.connection_error(None)
            try:
                chan, session = await self._conn.create_session(_Session, line, encoding=None)
                return chan, cast(_Session, session)
            except asyncssh.ChannelOpenError as error:
                if self._conn.is_closed():
                    raise self.connection_error(error) from None
                self.spare_sessions()
                if rank is not Rank.SHORT or not self._running_short:
                    refused += 1
                if refused >= _GIVE_WAY_AFTER:
                    self._let_give_way(rank)
                if refused == _OPEN_TRIES:
                    raise SshError(
                        f"{self._label} opens no session: {one_line(str(error), 200)}",
                        "it may limit sessions (MaxSessions) or allow no commands",
                    ) from None
            except (asyncssh.Error, OSError) as error:
                raise self.connection_error(error) from None
            await asyncio.sleep(next(pauses))

    @property
    def _running_short(self) -> bool:
        return any(rank is Rank.SHORT for rank, _ in self._running.values())

    def _let_give_way(self, rank: Rank) -> None:
        """Let the command give way that is ranked lowest, if there is one below `rank`."""
        lowest = min(self._running.items(), key=lambda item: item[1][0], default=None)
        if lowest is not None and lowest[1][0] < rank:
            lowest[1][1].abort()

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
        self._spawn(self._kill(pid), "ssh-kill")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kill(self, pid: int) -> None:
        line = f"kill -TERM -{pid} 2>/dev/null || kill -TERM {pid}"
        with contextlib.suppress(SshError, TimeoutError):
            async with asyncio.timeout(_KILL_S):
                chan, session = await self._open(f"exec /bin/sh -c '{line}'")
                # Where there is one session for all, whoever waits for it knows whose it is.
                self._running[session] = Rank.SHORT, chan
                try:
                    await asyncio.shield(session.ended)
                finally:
                    del self._running[session]
                    chan.abort()

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
