"""A stand-in for a marketplace, in this process and for one backend alone: it begins with the first
request, and ends with the backend."""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import TYPE_CHECKING

import httpx

from gdl.settings import Settings
from gdl.simulator.scenario import load

if TYPE_CHECKING:
    from gdl.simulator.markets import MarketStandIn

HOSTS = 1000
"""Of a simulated Vast.ai, where nobody asked for a number: one marketplace is many hosts."""


class StandInTransport(httpx.AsyncBaseTransport):
    """The way to the stand-in for the marketplace `name`; the client that it is given to closes it.
    url: where it answers, from the beginning on; key: what it takes. id: told apart from other
    runs.

    Raises UsageError for an unknown scenario, OSError without a free port.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self.scenario = load(settings.sandbox.scenario)
        self.key = secrets.token_hex(32)
        self.id = secrets.token_hex(4)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.market: MarketStandIn | None = None
        self._starting = asyncio.Lock()
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with self._starting:
            if self.market is None:
                # In a thread: the HTTP server's libraries take a moment to import.
                kind = await asyncio.to_thread(_stand_in)
                sandbox = self._settings.sandbox
                self.market = kind(
                    self._name,
                    self.scenario,
                    root=self._settings.data_dir / "sandbox",
                    seed=sandbox.seed,
                    speed=sandbox.speed,
                    offers=sandbox.offers or HOSTS,
                    key=self.key,
                )
                await self.market.start(listener=self._listener)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        async with self._starting:
            await self._inner.aclose()
            if self.market is not None:
                await self.market.aclose()
            self._listener.close()


def _stand_in() -> type[MarketStandIn]:
    from gdl.simulator.markets import MarketStandIn

    return MarketStandIn
