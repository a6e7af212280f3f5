"""HTTP/1.1 over connections of our own, opened beforehand: the exact way to measure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine
from time import perf_counter
from typing import Any
from urllib.parse import SplitResult

from gdl.domain.secret import Secret
from gdl.endpoint.protocol import Fault
from gdl.endpoint.tls import handshake_cut
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.http_connection import HttpConnection
from gdl.loadgen.open_files import most_connections
from gdl.loadgen.tls_connection import TlsConnection
from gdl.loadgen.transport import Done, Limits, base_path, connect_fault, too_many_files

_LOOK_EVERY_S = 0.05
_AFTER_DONE_S = 1.0
"""For the end of an answer after its [DONE]; then it counts as ended."""


class SocketTransport:
    """HTTP/1.1, over TLS where there is a context for it. One timer looks after all connections,
    so that no read has to."""

    name = "asyncio"
    elastic = False

    def __init__(
        self,
        parts: SplitResult,
        key: Secret,
        limits: Limits,
        context: ssl.SSLContext | None = None,
        note: str = "",
    ) -> None:
        self.note = note
        self._context = context
        self._host = parts.hostname or ""
        self._port = parts.port or (80 if context is None else 443)
        self._where = parts.netloc.rpartition("@")[2]
        self._base = base_path(parts)
        self._key = key
        self._limits = limits
        self._address: tuple[str, int] | None = None
        self._idle: list[HttpConnection] = []
        self._busy: dict[HttpConnection, tuple[bytes, Done]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._opening = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._given_up: Fault | None = None

    def prepare(self, path: str, body: bytes) -> bytes:
        """The whole request as it goes over the wire."""
        head = [
            f"POST {self._base}{path} HTTP/1.1",
            f"Host: {self._where}",
            "Accept: text/event-stream",
            "Accept-Encoding: identity",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self._key:
            head.append(f"Authorization: Bearer {self._key.reveal()}")
        return "\r\n".join((*head, "\r\n")).encode("latin-1", "replace") + body

    async def open(self, count: int) -> None:
        """See `Transport`. The address is looked up once."""
        if (most := most_connections()) is not None and count > most:
            raise too_many_files(count, most).as_error()
        self._wanted = count
        self._given_up = None
        if self._timer is None:
            self._look()
        try:
            if self._address is None:
                self._idle.append(await self._first())
            while (missing := count - len(self._idle)) > 0:
                # In portions: a server's backlog is finite.
                tries = (self._connect() for _ in range(min(missing, 64)))
                made = await asyncio.gather(*tries, return_exceptions=True)
                self._idle += [
                    connection for connection in made if isinstance(connection, HttpConnection)
                ]
                for problem in made:
                    if isinstance(problem, BaseException):
                        raise problem
        except Fault as fault:
            raise fault.as_error() from None

    async def _first(self) -> HttpConnection:
        """The first connection settles which of the host's addresses is used. Raises Fault."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect_s):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            raise connect_fault(error, self._where) from None
        problem = Fault("connect", f"{self._where} has no address")
        for _, _, _, _, address in found:
            self._address = (str(address[0]), int(address[1]))
            try:
                return await self._connect()
            except Fault as fault:
                problem = fault
        self._address = None
        raise problem

    async def _connect(self) -> HttpConnection:
        """Raises Fault."""
        loop, context, address = asyncio.get_running_loop(), self._context, self._address
        assert address is not None
        try:
            async with asyncio.timeout(self._limits.connect_s):
                if context is None:
                    _, plain = await loop.create_connection(
                        lambda: HttpConnection(self._finished, self._gone), *address
                    )
                    plain.watch()
                    return plain
                _, secure = await loop.create_connection(
                    lambda: TlsConnection(self._finished, self._gone, context, self._host), *address
                )
            return await self._secured(secure)
        except (OSError, TimeoutError) as error:
            raise connect_fault(error, self._where) from None

    async def _secured(self, connection: TlsConnection) -> HttpConnection:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await connection.secured()
        except (ConnectionError, TimeoutError):
            connection.close()
            raise handshake_cut(self._where) from None
        except BaseException:
            connection.close()
            raise
        connection.watch()
        return connection

    def send(self, exchange: Exchange, request: bytes, done: Done) -> None:
        """See `Transport`. If none is open, a connection is made first, before the clock starts."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._busy[connection] = (request, done)
                connection.send(exchange, request)
                if not self._idle:
                    self._grow()
                return
        self._spawn(self._send_anew(exchange, request, done))

    async def _send_anew(self, exchange: Exchange, request: bytes, done: Done) -> None:
        began = perf_counter()
        try:
            connection = await self._connect()
        except Fault as fault:
            exchange.fault = fault
            exchange.sent, exchange.ended = began, perf_counter()
            done(exchange)
            return
        self._busy[connection] = (request, done)
        connection.send(exchange, request)
        if self._given_up is not None:
            connection.give_up(self._given_up)

    def _finished(self, connection: HttpConnection, exchange: Exchange) -> None:
        request, done = self._busy.pop(connection)
        if connection.usable:
            self._idle.append(connection)
        elif _stale(connection, exchange) and not self._closed:
            # The server closed a connection that had rested: nothing was asked yet.
            exchange.retried, exchange.closed = True, False
            self._spawn(self._send_anew(exchange, request, done))
            return
        else:
            self._replenish()
        done(exchange)

    def _grow(self) -> None:
        """All connections are taken. When more than were opened turn out to be needed, some are
        opened ahead of the next request."""
        if self.elastic:
            more = max(self._wanted // 4, 4)
            self._wanted += more
            for _ in range(more):
                self._replenish()

    def _replenish(self) -> None:
        """Open a new connection in place of one that is gone."""
        open_ones = len(self._idle) + len(self._busy) + self._opening
        if not self._closed and open_ones < self._wanted:
            self._opening += 1
            self._spawn(self._open_spare())

    async def _open_spare(self) -> None:
        try:
            with contextlib.suppress(Fault):
                self._idle.insert(0, await self._connect())
        finally:
            self._opening -= 1

    def _gone(self, connection: HttpConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _look(self) -> None:
        """End what has run out of time."""
        now = perf_counter()
        for connection in tuple(self._busy):
            connection.look(now, _LOOK_EVERY_S)
            exchange, last = connection.exchange, connection.last_read()
            if exchange is None:
                continue
            if last is not None and now - last > _AFTER_DONE_S and b"[DONE]" in connection.tail():
                connection.give_up(None)
            elif now - exchange.sent > self._limits.request_s:
                text = f"no full answer within {self._limits.request_s:g} s"
                connection.give_up(Fault("timeout", text))
            elif last is not None and now - last > self._limits.stall_s:
                text = f"nothing came for {self._limits.stall_s:g} s in the middle of an answer"
                connection.give_up(Fault("stalled", text))
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def give_up(self, fault: Fault) -> None:
        """See `Transport`."""
        self._given_up = fault
        for connection in tuple(self._busy):
            connection.give_up(fault)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close every connection; what still runs is dropped without a word."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in (*self._idle, *self._busy):
            connection.drop()
        self._idle.clear()
        self._busy.clear()


def _stale(connection: HttpConnection, exchange: Exchange) -> bool:
    """Whether the connection had ended already when the request was written to it."""
    nothing = exchange.status == 0 and not exchange.times and exchange.fault is None
    return nothing and exchange.closed and connection.used > 1 and not exchange.retried
