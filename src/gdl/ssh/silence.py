"""Whether a machine was cut off meanwhile, also where the connection outlived it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gdl.domain.errors import SshError

if TYPE_CHECKING:
    from gdl.ssh.connection import Connection
    from gdl.ssh.reconnecting import Link

_EVERY_S = 1.0


class Silence:
    """Asks a machine again and again while it is entered, from `after_s` on. Raises SshError when
    it is out of reach at the beginning. silent_s: a machine answers sooner, however busy it is."""

    def __init__(self, link: Link, *, after_s: float = 4.0, silent_s: float = 5.0) -> None:
        self._link = link
        self._after_s, self._silent_s = after_s, silent_s
        self._longest_s = 0.0
        self._asked_at: float | None = None

    async def __aenter__(self) -> Silence:
        self._conn = await self._link.get()
        self._task = asyncio.create_task(self._ask(self._conn), name="silence")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def broken(self) -> bool:
        """Whether nothing came through for a while, and a connection stands again. Raises SshError
        when the machine stays out of reach."""
        if not await self._conn.answers():
            await self._link.get()
            return True
        now = asyncio.get_running_loop().time()
        waits_s = 0.0 if self._asked_at is None else now - self._asked_at
        return max(self._longest_s, waits_s) > self._silent_s

    async def _ask(self, conn: Connection) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._after_s)
        with contextlib.suppress(SshError):
            while True:
                self._asked_at = clock()
                await conn.talk("true", lambda *_: None)
                self._longest_s = max(self._longest_s, clock() - self._asked_at)
                self._asked_at = None
                await asyncio.sleep(_EVERY_S)
