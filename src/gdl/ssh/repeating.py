"""Commands that may be run twice, such as looks at a machine: a cut is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.host import CommandResult

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link


class Repeating:
    """A link for whoever knows of `run` alone: each command is run again on a fresh connection when
    the one it ran on was cut. Raises SshError when the machine stays out of reach, or answers on a
    connection that stands."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        return await self._link.run_again(command, timeout=timeout, input=input)
