"""A session channel in which a command runs, or a shell that waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from gdl.ssh.output import NOISE_LIMIT

OnData = Callable[[bytes, bool], None]
"""Called with each piece of output; True: it is from standard error."""
OnStart = Callable[[asyncssh.SSHClientChannel[bytes]], None]
"""Called with a command's channel once it runs; output of it may have come before."""


class CommandSession(asyncssh.SSHClientSession[bytes]):
    """Keeps the first of what comes until somebody takes it. ended: what the channel was closed
    with."""

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
class Shell:
    """A session in which a command runs, or a shell that waits for one (waiting_shell.py). word:
    what its mark has."""

    word: str
    chan: asyncssh.SSHClientChannel[bytes]
    session: CommandSession
