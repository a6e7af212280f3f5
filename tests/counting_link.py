"""A link on which round trips are counted: what has been said is held until nobody says more, and
is then delivered at once. So nobody can answer what has not arrived, and what does not depend on
each other travels together, as over a long way; no clock measures it.

A busy machine can only add to the count, by tearing apart what belongs together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

QUIET_S = 0.05
"""This long without a byte, and whoever has an answer has said it, on a machine that is idle."""
_MOST = 4
"""So often is waited for more: who talks all the time, as a watch does, is not heard out."""


@dataclass(eq=False)
class _Connection:
    """held: what is on its way; None: the end."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    up: list[bytes | None] = field(default_factory=list)
    down: list[bytes | None] = field(default_factory=list)


class CountingLink:
    """`port` leads to another port on this machine. round_trips: deliveries to the far side. TCP's
    own, before anything is said, is not among them. quiet_s: the longer, the surer."""

    def __init__(self, host: str, port: int, quiet_s: float = QUIET_S) -> None:
        self._to = (host, port)
        self._quiet_s = quiet_s
        self._connections: list[_Connection] = []
        self._said = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._spoke = self._loop.time()
        self.round_trips = 0
        self.port = 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.append(connection)
        self.spawn(self._listen(reader, connection.up))

    async def _listen(self, reader: asyncio.StreamReader, held: list[bytes | None]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**18):
                held.append(data)
                self._said.set()
        held.append(None)
        self._said.set()

    async def deliver(self) -> None:
        """Until cancelled."""
        while True:
            await self._said.wait()
            for _ in range(_MOST):
                self._said.clear()
                await asyncio.sleep(self._quiet_s)
                if not self._said.is_set():
                    break
            self._spoke = self._loop.time()
            self.round_trips += any(any(each.up) for each in self._connections)
            for each in list(self._connections):
                await self._hand_over(each)

    async def _hand_over(self, connection: _Connection) -> None:
        if connection.server is None:
            # The far side hears of a connection when its first word arrives, and speaks no sooner.
            reader, connection.server = await asyncio.open_connection(*self._to)
            self.spawn(self._listen(reader, connection.down))
        for held, writer in (
            (connection.up, connection.server),
            (connection.down, connection.client),
        ):
            for data in held:
                if data is not None:
                    writer.write(data)
                else:
                    writer.close()
            held.clear()
        if connection.server.is_closing() and connection.client.is_closing():
            self._connections.remove(connection)

    async def quiet(self) -> None:
        """Until nobody has said anything for a while."""
        while self._said.is_set() or self._loop.time() - self._spoke < 4 * self._quiet_s:
            await asyncio.sleep(self._quiet_s)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections:
            connection.client.close()
            if connection.server is not None:
                connection.server.close()


@contextlib.asynccontextmanager
async def counting_link(
    host: str, port: int, quiet_s: float = QUIET_S
) -> AsyncIterator[CountingLink]:
    """One that leads to `host`:`port`."""
    link = CountingLink(host, port, quiet_s)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    link.spawn(link.deliver())
    try:
        yield link
    finally:
        server.close()
        await link.aclose()
