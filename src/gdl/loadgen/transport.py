"""Ways of carrying requests: connections of our own, opened beforehand, and httpx for the rest."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import Fault
from gdl.loadgen.http_connection import Exchange, HttpConnection

Done = Callable[[Exchange], None]

_LOOK_EVERY_S = 0.05
_AFTER_DONE_S = 1.0
"""For the end of an answer after its [DONE]; then it counts as ended."""
_REFUSED_HINT = "is the server running, and is the address right?"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. request_s: a whole request. stall_s: between two pieces of an answer. connect_s: a
    connection."""

    request_s: float = 600.0
    stall_s: float = 60.0
    connect_s: float = 10.0


class Transport(Protocol):
    """name: what the result says. note: why it is not the exact way, "" when it is. elastic: set
    it when nobody knows how many connections will be needed."""

    name: str
    note: str
    elastic: bool

    def prepare(self, path: str, body: bytes) -> bytes:
        """What `send` takes for this body, made before any clock runs."""

    async def open(self, count: int) -> None:
        """Have `count` connections open. Raises VerificationError when nothing answers."""

    def send(self, exchange: Exchange, request: bytes, done: Done) -> None:
        """Send at once; `done` is called from the event loop when it ended, in whatever way."""

    def give_up(self, fault: Fault) -> None:
        """End everything that runs with this fault."""

    async def aclose(self) -> None: ...


def transport_for(url: str, key: Secret, limits: Limits) -> Transport:
    """The exact carrier for plain HTTP; httpx for TLS and where a proxy is in the way. Raises
    UsageError for what is no URL of an HTTP server."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(
            f"not an address of a server: {shown(url)!r}", "such as http://127.0.0.1:8000"
        )
    host = parts.hostname
    local = host == "localhost" or host.startswith("127.") or host == "::1"
    proxied = not local and parts.scheme in getproxies() and not proxy_bypass(host)
    if parts.scheme == "http" and not proxied:
        return SocketTransport(parts, key, limits)
    from gdl.loadgen.httpx_transport import HttpxTransport

    note = "TLS" if parts.scheme == "https" else "a proxy"
    return HttpxTransport(url, key, limits, f"{note}: measured through httpx", trust_env=proxied)


def shown(url: str) -> str:
    """The URL without a name and password in it."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def base_path(parts: SplitResult) -> str:
    """The path that the API's own paths are put behind: with or without its /v1."""
    return parts.path.rstrip("/").removesuffix("/v1")


def connect_fault(error: Exception, where: str) -> Fault:
    """Why no connection could be made."""
    if isinstance(error, TimeoutError):
        return Fault("connect", f"no connection to {where} in time", _REFUSED_HINT)
    if isinstance(error, ConnectionRefusedError):
        return Fault("connect", f"connection to {where} refused", _REFUSED_HINT)
    if isinstance(error, ssl.SSLError):
        return Fault("connect", f"TLS with {where} failed: {error}", _REFUSED_HINT)
    return Fault("connect", f"cannot connect to {where}: {error}", _REFUSED_HINT)


class SocketTransport:
    """Plain HTTP/1.1 over lanes. One timer looks after all of them, so that no read has to."""

    name = "asyncio"
    note = ""
    elastic = False

    def __init__(self, parts: SplitResult, key: Secret, limits: Limits) -> None:
        self._host = parts.hostname or ""
        self._port = parts.port or 80
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
        """See `Carrier`. The address is looked up once."""
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
                self._idle += [lane for lane in made if isinstance(lane, HttpConnection)]
                for problem in made:
                    if isinstance(problem, BaseException):
                        raise problem
        except (OSError, TimeoutError) as error:
            raise connect_fault(error, self._where).as_error() from None

    async def _first(self) -> HttpConnection:
        """The first connection settles which of the host's addresses is used."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._limits.connect_s):
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        problem: Exception = OSError("no address")
        for _, _, _, _, address in found:
            self._address = (str(address[0]), int(address[1]))
            try:
                return await self._connect()
            except (OSError, TimeoutError) as error:
                problem = error
        self._address = None
        raise problem

    async def _connect(self) -> HttpConnection:
        assert self._address is not None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._limits.connect_s):
            _, lane = await loop.create_connection(
                lambda: HttpConnection(self._finished, self._gone), *self._address
            )
        return lane

    def send(self, exchange: Exchange, request: bytes, done: Done) -> None:
        """See `Carrier`. Without an open connection one is made first, before the clock starts."""
        while self._idle:
            lane = self._idle.pop()
            if lane.usable:
                self._busy[lane] = (request, done)
                lane.send(exchange, request)
                if not self._idle:
                    self._grow()
                return
        self._spawn(self._send_anew(exchange, request, done))

    async def _send_anew(self, exchange: Exchange, request: bytes, done: Done) -> None:
        began = perf_counter()
        try:
            lane = await self._connect()
        except (OSError, TimeoutError) as error:
            exchange.fault = connect_fault(error, self._where)
            exchange.sent, exchange.ended = began, perf_counter()
            done(exchange)
            return
        self._busy[lane] = (request, done)
        lane.send(exchange, request)
        if self._given_up is not None:
            lane.give_up(self._given_up)

    def _finished(self, lane: HttpConnection, exchange: Exchange) -> None:
        request, done = self._busy.pop(lane)
        if lane.usable:
            self._idle.append(lane)
        elif _stale(lane, exchange) and not self._closed:
            # The server closed a connection that had rested: nothing was asked yet.
            exchange.retried, exchange.closed = True, False
            self._spawn(self._send_anew(exchange, request, done))
            return
        else:
            self._replenish()
        done(exchange)

    def _grow(self) -> None:
        """All lanes are taken. When more than were opened turn out to be needed, some are opened
        ahead of the next request."""
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
            with contextlib.suppress(OSError, TimeoutError):
                self._idle.insert(0, await self._connect())
        finally:
            self._opening -= 1

    def _gone(self, lane: HttpConnection) -> None:
        if lane in self._idle:
            self._idle.remove(lane)

    def _look(self) -> None:
        """End what has run out of time."""
        now = perf_counter()
        for lane in tuple(self._busy):
            lane.look(now, _LOOK_EVERY_S)
            exchange, last = lane.exchange, lane.last_read()
            if exchange is None:
                continue
            if last is not None and now - last > _AFTER_DONE_S and b"[DONE]" in lane.tail():
                lane.give_up(None)
            elif now - exchange.sent > self._limits.request_s:
                text = f"no full answer within {self._limits.request_s:g} s"
                lane.give_up(Fault("timeout", text))
            elif last is not None and now - last > self._limits.stall_s:
                text = f"nothing came for {self._limits.stall_s:g} s in the middle of an answer"
                lane.give_up(Fault("stalled", text))
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def give_up(self, fault: Fault) -> None:
        """See `Carrier`."""
        self._given_up = fault
        for lane in tuple(self._busy):
            lane.give_up(fault)

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
        for lane in (*self._idle, *self._busy):
            lane.drop()
        self._idle.clear()
        self._busy.clear()


def _stale(lane: HttpConnection, exchange: Exchange) -> bool:
    """Whether the connection had ended already when the request was written to it."""
    nothing = exchange.status == 0 and not exchange.times and exchange.fault is None
    return nothing and exchange.closed and lane.used > 1 and not exchange.retried
