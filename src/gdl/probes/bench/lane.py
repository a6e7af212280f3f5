"""The hot path: one connection, and the answers that come over it with the time of every read.

Here only HTTP's framing is looked at, by httptools, in C. What the answers say is read after the
clock has stopped (`decode`), so that reading one answer never delays the next one's time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import perf_counter
from typing import cast

from httptools import HttpParserError, HttpResponseParser

from gdl.probes.protocol import Fault

ANSWER_LIMIT = 16 * 2**20
"""Bytes of one answer; far above what any prompt asks for."""


class Exchange:
    """One request and the raw body of its answer. Times are `time.perf_counter`'s, in seconds.

    due: when it was to be sent, in a load that follows a timetable; None otherwise. times: of each
    read that brought something; counts: how many `pieces` of the body there were after each.
    status: the HTTP status, 0 while there is none. closed: the connection ended before the answer
    did. fault: what went wrong on the way; None does not say that the answer is a good one.
    """

    __slots__ = (
        "closed", "counts", "due", "ended", "fault", "pieces", "retried", "sent", "status", "tag",
        "times",
    )  # fmt: skip

    def __init__(self, tag: int = 0, due: float | None = None) -> None:
        self.tag = tag
        self.due = due
        self.sent = 0.0
        self.ended = 0.0
        self.times: list[float] = []
        self.counts: list[int] = []
        self.pieces: list[bytes] = []
        self.status = 0
        self.closed = False
        self.retried = False
        self.fault: Fault | None = None


class Lane(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    finished: called with the lane and the exchange whenever one ends, from the event loop; the
    lane may then be used again when `usable`. lost: called when the connection is gone.
    """

    __slots__ = (
        "_complete", "_counts", "_descriptor", "_finished", "_keep", "_lost", "_parser", "_pieces",
        "_size", "_times", "_transport", "exchange", "on_body", "usable", "used",
    )  # fmt: skip

    def __init__(
        self,
        finished: Callable[[Lane, Exchange], None],
        lost: Callable[[Lane], None],
    ) -> None:
        self._finished = finished
        self._lost = lost
        self._pieces: list[bytes] = []
        # The parser calls this for each piece of a body: a method written in C, no Python frame.
        self.on_body = self._pieces.append
        self._times: list[float] = []
        self._counts: list[int] = []
        self._size = 0
        self._complete = False
        self._keep = True
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._parser = HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.usable = False
        self.used = 0

    # -- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only like them.
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self.usable = True

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if self.exchange is None:
            self.close()  # it speaks without being asked
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._keep = False
            if not self._complete:
                self._break_off(now, Fault("protocol", f"not HTTP: {error}"))
                return
        self._times.append(now)
        self._counts.append(len(self._pieces))
        self._size += len(data)
        if self._complete:
            self._end(now)
        elif self._size > ANSWER_LIMIT:
            text = f"the answer is larger than {ANSWER_LIMIT >> 20} MiB"
            self._break_off(now, Fault("protocol", text))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = self._keep = False
        self._descriptor = -1
        if self.exchange is not None:
            self.exchange.closed = True
            self._end(perf_counter())
        self._lost(self)

    # -- what the parser calls ----------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self.exchange is not None:
            self.exchange.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        if self.exchange is None or 100 <= self.exchange.status < 200:
            return  # an interim answer: the real one follows
        self._complete = True
        self._keep = self._keep and self._parser.should_keep_alive()

    # -- what the carrier calls ---------------------------------------------------------------

    def send(self, exchange: Exchange, request: bytes) -> None:
        """Write the request, its clock started. The answer comes to `finished`."""
        transport = self._transport
        assert transport is not None and self.exchange is None
        self.exchange = exchange
        self.used += 1
        written = 0
        exchange.sent = perf_counter()
        # Past the transport, which may put a write off to the end of the loop's turn.
        if transport.get_write_buffer_size() == 0:
            try:
                written = os.write(self._descriptor, request)
            except (BlockingIOError, InterruptedError):
                written = 0
            except OSError:
                transport.abort()  # `connection_lost` follows
                return
        if written < len(request):
            transport.write(request[written:])

    def last_read(self) -> float | None:
        """When the last bytes came; None before the first of the body: only headers may be there
        while the request still waits for its turn."""
        return self._times[-1] if self._pieces else None

    def tail(self) -> bytes:
        """The last piece of the running exchange's body."""
        return self._pieces[-1] if self._pieces else b""

    def give_up(self, fault: Fault | None) -> None:
        """End the running exchange, and the connection with it."""
        self._break_off(perf_counter(), fault)

    def drop(self) -> None:
        """Close without a word to anybody."""
        self.exchange = None
        self.close()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _break_off(self, now: float, fault: Fault | None) -> None:
        self._keep = False
        if self.exchange is not None:
            self.exchange.closed = True
            self.exchange.fault = fault
        self._end(now)

    def _end(self, now: float) -> None:
        """Hand the exchange over. The lists stay the parser's; their content goes along."""
        exchange, self.exchange = self.exchange, None
        pieces, times, counts = self._pieces.copy(), self._times, self._counts
        self._pieces.clear()
        self._times, self._counts = [], []
        self._size = 0
        self._complete = False
        if not self._keep:
            self.close()
        if exchange is not None:
            exchange.pieces, exchange.times, exchange.counts = pieces, times, counts
            exchange.ended = now
            self._finished(self, exchange)
