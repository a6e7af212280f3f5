"""The simulated vLLM server in this process, at the speed of the test and with its answers.

    async with FakeVllm(api_key="k") as server:
        server.answers["capital of France"] = "The capital of France is Paris."
        server.token_delay_s = 0.01
        ... server.url, server.requests ...

One word is one token.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Self

from gdl.simulator.programs.vllm_api import Api, Served
from gdl.simulator.programs.vllm_parsers import NO_PARSERS, Parsers
from gdl.simulator.programs.vllm_script import Script

SICK = "EngineCore encountered an issue"
"""What it says of itself when a generation fails."""


def _lives_on() -> None:
    raise AssertionError("this server is of the test's own process")


@dataclass
class FakeVllm(Script):
    """See Script for what can be ordered. connections: as many as there have been. parsers: what it
    was started with. tls: how it speaks TLS; None: plain HTTP."""

    model: str = "tiny"
    api_key: str = ""
    port: int = 0
    default_answer: str | None = "one two three four five six seven eight nine ten"
    first_delay_s: float | None = 0.0
    token_delay_s: float | None = 0.0
    connections: int = 0
    parsers: Parsers = NO_PARSERS
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        served = Served(
            self.model,
            longest=2**20,
            key=self.api_key,
            token_s=0.0,
            speed=1.0,
            version="0.32.0",
            trouble="",
            trouble_text="",
            die=_lives_on,
            seats=10_000,
            template_tokens=0,
            parsers=self.parsers,
        )
        self._api = Api(served, self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=2**20, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Own tasks, because the server's own ones are not told to end when it closes.
        self.connections += 1
        task = asyncio.create_task(self._api.accept(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
