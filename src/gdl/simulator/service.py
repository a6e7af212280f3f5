"""The simulated service as a whole: folder, market, and the HTTP server on loopback."""

from __future__ import annotations

import asyncio
import secrets
import socket
import weakref
from pathlib import Path
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gdl.domain.errors import BackendError, UsageError
from gdl.domain.text import one_line
from gdl.simulator import workspace as ws
from gdl.simulator.fault_draws import Draws
from gdl.simulator.http_api import Api
from gdl.simulator.listings import listings, read_rows
from gdl.simulator.market import Market
from gdl.simulator.scenario import Scenario

LOOPBACK = "127.0.0.1"


class Service:
    """Runs in the event loop that starts it. Closing it ends every session, process and file.

    root: the folder in which simulated markets have theirs. speed: how many times faster than
    its scenario's seconds. offers: how many to list; 0: the fixed list.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        root: Path,
        seed: int = 0,
        speed: float = 1.0,
        offers: int = 0,
    ) -> None:
        self._scenario = scenario
        try:
            own = read_rows([list(row) for row in scenario.offers])
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"scenario {scenario.name}: its offers cannot be read: {one_line(error)}",
                "write rows as in the standard list",
            ) from None
        self.listed = own or listings(offers, seed)
        self._workspace = ws.Workspace(root)
        self._draws = Draws(scenario, seed, self.listed)
        self.market = Market(scenario, self.listed, self._draws, self._workspace, speed=speed)
        self.id = secrets.token_hex(4)
        self._about = {
            "simulated": True,
            "id": self.id,
            "scenario": scenario.name,
            "title": scenario.title,
            "seed": seed,
            "speed": speed,
            "offers": len(self.listed),
        }
        self._connections: weakref.WeakValueDictionary[tuple[str, int], Any] = (
            weakref.WeakValueDictionary()
        )
        self._api = Api(
            self.market, self._draws, self._about, self._cut, scenario.timing.hang / speed
        )
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._warming: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        assert self._socket is not None, "not started"
        return f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"

    async def start(self, port: int = 0) -> str:
        """Listen, and say where. Raises BackendError when the port or the folder cannot be had."""
        await ws.sweep(self._workspace.root)
        try:
            await asyncio.to_thread(self._workspace.make)
            self._socket = _listen(port)
        except OSError as error:
            await asyncio.to_thread(self._workspace.remove)
            raise BackendError(
                f"the sandbox cannot be started: {one_line(error.strerror or error)}",
                f"choose another port than {port}" if port else "check the data folder",
            ) from None
        config = uvicorn.Config(
            self._api.app(),
            http=_protocol(self._connections),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=3,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[self._socket])
        self._server = server
        self._warming = asyncio.create_task(self.market.keys.warm())
        return self.url

    async def aclose(self) -> None:
        """End everything. Idempotent."""
        self._api.close()
        if self._warming is not None:
            await asyncio.wait({self._warming})
        await self.market.aclose()
        server, self._server = self._server, None
        if server is not None:
            await server.shutdown(sockets=[self._socket] if self._socket else None)
        await asyncio.to_thread(self._workspace.remove)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _cut(self, client: tuple[str, int]) -> None:
        connection = self._connections.get(client)
        if connection is not None:
            connection.transport.abort()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except OSError:
        listener.close()
        raise
    return listener


def _protocol(connections: weakref.WeakValueDictionary[tuple[str, int], Any]) -> type[H11Protocol]:
    """uvicorn's protocol, with a record of the connections, so that one of them can be cut."""

    class Recorded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections[self.client] = self

    return Recorded
