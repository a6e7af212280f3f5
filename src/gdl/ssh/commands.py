"""One command over one session channel: output bounded, login noise cut off, time-outs kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import asyncssh

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, Disconnected, GaveWay, GdlError, SshError
from gdl.domain.text import one_line
from gdl.ssh import waiting_shell
from gdl.ssh.opening import opened
from gdl.ssh.output import Unmark
from gdl.ssh.session_turns import Rank, Turns, Wish
from gdl.ssh.shell_session import CommandSession, OnData, OnStart, Shell

_OPEN_TRIES = 12
_OPEN_S = 60.0
"""How long sessions may be refused on a connection that has opened one: they are taken then, and a
busy machine takes its time to see that one has ended."""
_KILL_S = 5.0
_SPARES = 3
"""Shells that wait for a command each."""
_GIVE_WAY_AFTER = 3
"""So many refusals in a row are more than sessions that are just about to end."""


class Executor:
    """Runs commands on one connection, at most six at a time, and keeps shells that wait for the
    next ones.

    OpenSSH allows ten sessions on a connection by default; SFTP takes one.
    """

    def __init__(
        self,
        conn: asyncssh.SSHClientConnection,
        label: str,
        elsewhere: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """elsewhere: runs a command on the same machine by another connection. Raises SshError."""
        self._conn = conn
        self._label = label
        self._slots = asyncio.Semaphore(6)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[Shell] = []
        self._turns = Turns()
        self._preparing = 0
        self._spares = _SPARES
        self._has_opened = False
        self._elsewhere = elsewhere

    async def execute(
        self,
        command: str,
        on_data: OnData,
        *,
        timeout: float | None,
        input: bytes = b"",
        on_start: OnStart | None = None,
        rank: Rank = Rank.SHORT,
        answered: asyncio.Event | None = None,
    ) -> int:
        """Run `command` in /bin/sh, hand its output to `on_data`, and return its exit status
        (-N when signal N ended it).

        answered: as for a short command until that is set.
        on_start: its input stays open, for whoever is given the channel; the command is one that
        ends by itself once its input does. rank: SAMPLES take long anyway, so that the shells that
        wait are left to others.

        Raises CommandTimeout after `timeout` seconds (its channel is closed then), Disconnected,
        GaveWay (never for a short one), and SshError when the machine does not run the command.
        """
        wish = Wish(command, on_data, input, on_start, rank, answered)
        try:
            async with asyncio.timeout(timeout):
                async with self._slots:
                    shell = None if rank is Rank.SAMPLES else self._take()
                    return await self._execute(shell, wish)
        except TimeoutError:
            if wish.refused:
                raise self._no_session(wish) from None
            raise CommandTimeout(
                f"a command on {self._label} took longer than {timeout or 0:g} s: "
                f"{one_line(command, 80)}",
                "the machine may be busy or stuck; try again or raise the time-out",
            ) from None

    async def _execute(self, shell: Shell | None, wish: Wish) -> int:
        self._prepare()
        if shell is not None:
            handed = f"{wish.command}\n{shell.word}\n".encode("utf-8", "surrogateescape")
            status = await self._run_in(shell, wish, handed)
            if status is not None:
                return status
            # It had ended before it could read its command.
        status = await self._run_in(await self._begin(wish), wish, fresh=True)
        assert status is not None
        return status

    async def _run_in(
        self, shell: Shell, wish: Wish, handed: bytes = b"", *, fresh: bool = False
    ) -> int | None:
        """The exit status of what runs in a shell. handed: what it reads before its input. fresh:
        it has its command already. Otherwise None when the shell ended without beginning with it.
        """
        chan, session = shell.chan, shell.session
        out, err = Unmark(shell.word), Unmark(shell.word)

        def sift(data: bytes, is_error: bool) -> None:
            if rest := (err if is_error else out).feed(data):
                wish.on_data(rest, is_error)

        session.take(sift)
        with self._turns.running(shell, wish):
            try:
                # One that ended before it read its input is no error; its status tells the rest.
                with contextlib.suppress(OSError):
                    if handed or wish.input:
                        chan.write(handed + wish.input)
                    if wish.on_start is None:
                        chan.write_eof()
                    else:
                        wish.on_start(chan)
                # Shielded: a time-out would end the future too, and so hide that the command runs.
                problem = await asyncio.shield(session.ended)
                gave_way = self._turns.gave_way(shell)
            finally:
                self._end(shell, out.pid if wish.on_start is None else 0)
        status = chan.get_returncode()
        if not fresh and not out.pid:
            return None
        if problem is not None or (status is None and self._conn.is_closed()):
            raise self.connection_error(problem)
        if gave_way:
            # OpenSSH tells how it ended all the same.
            raise GaveWay(f"a command on {self._label} gave way to another", "it is begun again")
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

    async def _begin(self, wish: Wish) -> Shell:
        """Run a command in a session of its own. A machine short of sessions is asked again: what
        takes long gives way, and the end of another short command is waited for."""
        try:
            return await self._asked_again(wish)
        finally:
            self._turns.drop(wish)

    async def _asked_again(self, wish: Wish) -> Shell:
        word = waiting_shell.new_word()
        line = waiting_shell.at_once(word, wish.command)
        pauses = Backoff(0.05, 1.0, growth=RETRYING)
        asked, refused, since = 0, 0, time.monotonic()
        while True:
            await self._turns.come(wish)
            if self._conn.is_closed():
                raise self.connection_error(None)
            try:
                shell = await self._create(line, word)
            except asyncssh.ChannelOpenError as error:
                if self._conn.is_closed():
                    raise self.connection_error(error) from None
                self._turns.refused(wish, one_line(str(error), 200))
            except (asyncssh.Error, OSError) as error:
                raise self.connection_error(error) from None
            else:
                wish.refused = ""
                return shell
            self.spare_sessions()
            if wish.rank is not Rank.SHORT or not self._turns.running_short:
                refused += 1
            asked += 1
            # The short one that runs may be one that is not so short.
            enough = refused >= _GIVE_WAY_AFTER or asked >= 2 * _GIVE_WAY_AFTER
            if enough and self._turns.give_way(wish):
                pauses.reset()
            taken = self._has_opened and time.monotonic() - since < _OPEN_S
            if refused >= _OPEN_TRIES and not taken:
                raise self._no_session(wish)
            await asyncio.sleep(next(pauses))

    def _no_session(self, wish: Wish) -> SshError:
        return SshError(
            f"{self._label} opens no session: {wish.refused}",
            "it may limit sessions (MaxSessions) or allow no commands",
        )

    # -- shells that wait ------------------------------------------------------------------------

    def _take(self) -> Shell | None:
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
            shell = await self._create(waiting_shell.program(word), word)
        except asyncssh.ChannelOpenError:
            # The machine is short of sessions: they are for the commands alone.
            self.spare_sessions()
        except (asyncssh.Error, OSError):
            return  # whoever has a command for it will see
        else:
            if self._spares:
                self._waiting.append(shell)
            else:
                shell.chan.abort()  # they were needed meanwhile
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

    async def _create(self, line: str, word: str) -> Shell:
        """A session that runs `line`, which says its mark with `word` once it does."""
        chan, session = await opened(
            self._conn.create_session(CommandSession, line, encoding=None),
            lambda late: self._spawn(
                self._end_late(Shell(word, late[0], cast(CommandSession, late[1]))), "ssh-late"
            ),
        )
        self._has_opened = True
        return Shell(word, chan, cast(CommandSession, session))

    async def _end_late(self, shell: Shell) -> None:
        """End what was begun for somebody who is gone."""
        mark, said = Unmark(shell.word), asyncio.Event()

        def look(data: bytes, is_error: bool) -> None:
            if not is_error:
                mark.feed(data)
            if mark.pid:
                said.set()

        shell.session.take(look)
        shell.session.ended.add_done_callback(lambda _: said.set())
        with self._turns.running(shell, Wish("", look)), contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(_KILL_S):
                    await said.wait()
            finally:
                self._end(shell, mark.pid)

    def connection_error(self, error: Exception | None) -> Disconnected:
        detail = one_line(str(error), 200) if error is not None else "connection closed"
        return Disconnected(
            f"the SSH connection to {self._label} was lost: {detail}", "it is made again"
        )

    def _end(self, shell: Shell, pid: int) -> None:
        """Where its command still runs, close its channel, and have the command ended. pid: 0 for
        one that is not known, or ends by itself.

        OpenSSH passes no signals on for root, the usual user of rented machines, and a closed
        channel alone ends only who writes to it. So the command's process group is sent TERM by
        another command; servers make a group of each command.
        """
        if shell.session.ended.done():
            return
        shell.chan.abort()
        if pid and not self._conn.is_closed():
            self._spawn(self._kill(pid), "ssh-kill")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kill(self, pid: int) -> None:
        line = f"kill -TERM -{pid} 2>/dev/null || kill -TERM {pid}"
        with contextlib.suppress(GdlError, TimeoutError):
            if self.short_of_sessions and self._elsewhere is not None:
                # Its session is taken until it ends, though its channel is closed.
                await self._elsewhere(line)
                return
            async with asyncio.timeout(_KILL_S):
                wish = Wish(line, lambda *_: None)
                shell = await self._begin(wish)
                with self._turns.running(shell, wish):
                    try:
                        await asyncio.shield(shell.session.ended)
                    finally:
                        shell.chan.abort()

    async def aclose(self) -> None:
        # What ends begins the end of what it ran.
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
