"""Where a forwarded connection ends."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, cast

import asyncssh


class Forwarding(Awaitable[asyncssh.SSHTCPSession[bytes]]):
    """Begins when it is awaited. A coroutine, such as asyncssh's own, would be left unawaited, with
    a warning, by a connection that is cut right after the request."""

    def __init__(self, conn: asyncssh.SSHServerConnection, host: str, port: int) -> None:
        self._conn, self._host, self._port = conn, host, port

    def __await__(self) -> Generator[Any, Any, asyncssh.SSHTCPSession[bytes]]:
        return self._forwarded().__await__()

    async def _forwarded(self) -> asyncssh.SSHTCPSession[bytes]:
        forwarder = await self._conn.forward_connection(self._host, self._port)
        if self._conn.is_closed():
            # asyncssh forgets one that was connected a moment too late.
            forwarder.close()
        return cast("asyncssh.SSHTCPSession[bytes]", forwarder)
