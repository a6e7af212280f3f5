"""Narrow interfaces that let rooms of the house work together without importing each other."""

from __future__ import annotations

from typing import Protocol

from gdl.domain.models import CommandResult


class CommandRunner(Protocol):
    """Runs one command line in a POSIX shell on the machine.

    `timeout` in seconds. A non-zero exit is an answer, not an error; raises SshError when the
    connection is lost and CommandTimeout when the time is over.
    """

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult: ...
