"""Commands that may be run twice, such as looks at a machine: a cut is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.errors import CommandTimeout, SshError
from gdl.domain.host import CommandResult

if TYPE_CHECKING:
    from gdl.ssh.connection import Connection
    from gdl.ssh.reconnecting import Link

_ALIVE_S = 10.0


class Repeating:
    """Runs each command again on a fresh connection when the one it ran on was cut. Raises SshError
    when the machine stays out of reach, or answers on a connection that stands."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        async def once(conn: Connection) -> CommandResult:
            try:
                return await conn.run(command, timeout=timeout, input=input)
            except CommandTimeout as error:
                # A cut that nobody told of looks the same: is anybody there?
                if await _alive(conn):
                    raise
                raise SshError(error.message, error.hint) from None

        return await self._link.repeating(once)


async def _alive(conn: Connection) -> bool:
    """Whether a connection still answers; one that does not is closed."""
    try:
        await conn.run("true", timeout=_ALIVE_S)
    except SshError:
        await conn.aclose()
        return False
    return True
