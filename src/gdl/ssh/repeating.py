"""Commands that may be run twice, such as looks at a machine: a cut is no answer."""

from __future__ import annotations

import asyncio
import contextlib

from gdl.domain.errors import CommandTimeout, HostKeyChanged, SshAuthFailed, SshError
from gdl.domain.host import CommandResult
from gdl.ssh.connection import Connection
from gdl.ssh.reconnecting import Link

_TRIES = 6
_CLOSES_S = 1.0
"""A connection that breaks under a command is known to be closed a moment later."""
_ALIVE_S = 10.0


class Repeating:
    """Runs each command again on a fresh connection when the one it ran on was cut. Raises SshError
    when the machine stays out of reach, or answers on a connection that stands."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        for _ in range(_TRIES - 1):
            conn = await self._link.get()
            try:
                return await conn.run(command, timeout=timeout, input=input)
            except (HostKeyChanged, SshAuthFailed):
                raise
            except CommandTimeout:
                # A cut that nobody told of looks the same: is anybody there?
                if await _alive(conn):
                    raise
            except SshError:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSES_S):
                        await conn.wait_closed()
                if not conn.closed:
                    raise
        return await self._link.run(command, timeout=timeout, input=input)


async def _alive(conn: Connection) -> bool:
    """Whether a connection still answers; one that does not is closed."""
    try:
        await conn.run("true", timeout=_ALIVE_S)
    except SshError:
        await conn.aclose()
        return False
    return True
