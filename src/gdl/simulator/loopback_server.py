"""An HTTP server on loopback, in the event loop that starts it, whose connections can be cut."""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = "127.0.0.1"
_GRACE_S = 3.0
"""Seconds for requests that are being answered when the server closes."""
_LAST_TURNS = 100
"""Of 10 ms each, for answers that are still on their way to a client."""

Connections = weakref.WeakValueDictionary[tuple[str, int], Any]


class LoopbackServer:
    """`listen`, then `serve`; `aclose` ends it."""

    def __init__(self) -> None:
        self._connections: Connections = weakref.WeakValueDictionary()
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str:
        assert self._socket is not None, "not started"
        return f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"

    def listen(self, port: int = 0, listener: socket.socket | None = None) -> None:
        """listener: has its address already. Raises OSError."""
        if listener is not None:
            self._socket = listener
            return
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((LOOPBACK, port))
        except OSError:
            listener.close()
            raise
        self._socket = listener

    async def serve(self, app: Starlette) -> None:
        assert self._socket is not None, "not listening"
        config = uvicorn.Config(
            app,
            http=_protocol(self._connections),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
        )
        # The steps of `Server.serve`, which would take over the signals of this process.
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[self._socket])
        self._server = server

    def cut(self, client: tuple[str, int]) -> None:
        """Reset the connection of the client with that address."""
        connection = self._connections.get(client)
        if connection is not None:
            connection.transport.abort()

    async def aclose(self) -> None:
        """Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await _shut_down(server)


async def _shut_down(server: uvicorn.Server) -> None:
    """As the server's own `shutdown`, which always sleeps for a tenth of a second."""
    state = server.server_state
    for listener in server.servers:
        listener.close()
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=_GRACE_S)
    for task in list(state.tasks):
        task.cancel()
    for _ in range(_LAST_TURNS):
        if not state.connections:
            return
        await asyncio.sleep(0.01)
    for connection in list(state.connections):
        connection.transport.abort()


def _protocol(connections: Connections) -> type[H11Protocol]:
    """uvicorn's protocol, with a record of the connections, so that one of them can be cut."""

    class Recorded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections[self.client] = self

    return Recorded
