"""The way through proxies: httpx. It charges its own scheduling to the server, which at many
streams is tens of milliseconds of TTFT, so a result that was measured through it says so."""

from __future__ import annotations

import asyncio
import ssl
from time import perf_counter
from urllib.parse import urlsplit

import httpx

from gdl.domain.secret import Secret
from gdl.endpoint.protocol import Fault
from gdl.endpoint.tls import no_trust_context
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.http_connection import ANSWER_LIMIT
from gdl.loadgen.transport import Done, Limits, base_path, connect_fault


class HttpxTransport:
    """See `Transport`. Connections cannot be opened beforehand; warm-up requests do that."""

    name = "httpx"
    elastic = True

    def __init__(
        self,
        url: str,
        key: Secret,
        limits: Limits,
        note: str,
        *,
        trust_env: bool,
        verify: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.note = note
        self._where = parts.netloc.rpartition("@")[2]
        self._base = f"{parts.scheme}://{parts.netloc}{base_path(parts)}"
        self._limits = limits
        self._path = ""
        headers = {
            b"Accept": b"text/event-stream",
            b"Accept-Encoding": b"identity",
            b"Content-Type": b"application/json",
        }
        if key:
            headers[b"Authorization"] = f"Bearer {key.reveal()}".encode()
        self._http = httpx.AsyncClient(
            headers=headers,
            trust_env=trust_env,
            verify=verify or no_trust_context(),
            transport=transport,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(
                limits.request_s, connect=limits.connect_s, read=None, pool=limits.request_s
            ),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: Fault | None = None

    def prepare(self, path: str, body: bytes) -> bytes:
        """The body alone; all bodies of a run go to one path."""
        self._path = path
        return body

    async def open(self, count: int) -> None:
        """There is nothing to open; what was given up before is forgotten."""
        self._given_up = None

    def send(self, exchange: Exchange, request: bytes, done: Done) -> None:
        """See `Transport`."""
        task = asyncio.get_running_loop().create_task(self._carry(exchange, request, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, exchange: Exchange, request: bytes, done: Done) -> None:
        exchange.sent = perf_counter()
        try:
            async with asyncio.timeout(self._limits.request_s):
                await self._stream(exchange, request)
        except (TimeoutError, httpx.TimeoutException) as error:
            exchange.fault = exchange.fault or self._late(error)
        except httpx.ConnectError as error:
            exchange.fault = connect_fault(error, self._where)
        except (httpx.HTTPError, OSError):
            exchange.closed = True
        except asyncio.CancelledError:
            if self._given_up is None:
                raise
            exchange.fault = self._given_up
        exchange.ended = perf_counter()
        done(exchange)

    async def _stream(self, exchange: Exchange, request: bytes) -> None:
        url = self._base + self._path
        size = 0
        async with self._http.stream("POST", url, content=request) as response:
            exchange.status = response.status_code
            chunks = response.aiter_raw()
            while True:
                # No limit before the first piece but that of the whole request.
                limit = self._limits.stall_s if exchange.times else None
                try:
                    async with asyncio.timeout(limit):
                        piece = await anext(chunks, None)
                except TimeoutError:
                    text = f"nothing came for {limit:g} s in the middle of an answer"
                    exchange.fault = Fault("stalled", text)
                    return
                if piece is None:
                    return
                exchange.times.append(perf_counter())
                exchange.pieces.append(piece)
                exchange.counts.append(len(exchange.pieces))
                size += len(piece)
                if size > ANSWER_LIMIT:
                    text = f"the answer is larger than {ANSWER_LIMIT >> 20} MiB"
                    exchange.fault = Fault("protocol", text)
                    return

    def _late(self, error: Exception) -> Fault:
        if isinstance(error, httpx.ConnectTimeout):
            return connect_fault(TimeoutError(), self._where)
        return Fault("timeout", f"no full answer within {self._limits.request_s:g} s")

    def give_up(self, fault: Fault) -> None:
        """See `Transport`."""
        self._given_up = fault
        for task in tuple(self._tasks):
            task.cancel()

    async def aclose(self) -> None:
        """Drop what still runs, and close every connection."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
