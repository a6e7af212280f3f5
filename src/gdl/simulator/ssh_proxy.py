"""The second way to a rented machine: a marketplace's own host, which passes SSH on to it."""

from __future__ import annotations

import asyncio
import contextlib


class SshProxy:
    """Listens on loopback at `port`, and joins each connection to the machine."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._server: asyncio.Server | None = None
        self._closed = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._joins: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def start(self) -> None:
        """Raises OSError. Cut short, or closed meanwhile, it does not listen."""
        # Not to accept at once: cut short there, asyncio would forget an open socket.
        server = await asyncio.start_server(self._join, "127.0.0.1", 0, start_serving=False)
        if self._closed:
            server.close()
            return
        self._server = server
        await server.start_serving()

    async def aclose(self) -> None:
        """Idempotent."""
        self._closed = True
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._joins):
            task.cancel()
        await asyncio.gather(*self._joins, return_exceptions=True)
        for end in list(self._ends):
            end.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._joins.add(task)
        self._ends.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                far_reader, far_writer = await asyncio.open_connection(*self._to)
                self._ends.add(far_writer)
                try:
                    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                finally:
                    far_writer.close()
                    self._ends.discard(far_writer)
        finally:
            writer.close()
            self._ends.discard(writer)
            self._joins.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
