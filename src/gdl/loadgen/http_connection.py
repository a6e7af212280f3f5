"""The hot path: one connection, and the answers that come over it with the time of every read.

Of the answers only the headers and the end are looked at while the clock runs. Their framing is
taken apart (by httptools, in C) and what they say is read (`decode`) after it has stopped, so that
reading one answer never delays the next one's time. What does not look like a stream of events in
chunks is taken apart as it comes.

Until an answer's body has begun, the kernel is asked when what is read had come (`arrival`): its
first token is then as early as it was, however many other streams were read before it. It goes on
for a few reads if those are late, or the gap after the first token would have the lateness in it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from time import perf_counter
from typing import cast

from httptools import HttpParserError, HttpResponseParser

from gdl.endpoint.protocol import Fault
from gdl.loadgen import arrival
from gdl.loadgen.exchange import Exchange

ANSWER_LIMIT = 16 * 2**20
"""Bytes of one answer; far above what any prompt asks for."""
_LATE_S = 0.001
"""From its arrival to its being read. A process that keeps up needs a tenth of it."""
_MOST_WATCHED = 4
"""Reads: the kernel's time makes each half as dear again."""
_END = b"\r\n\r\n"
"""What every answer in chunks ends with, its trailers or last chunk, and few reads before do."""
_DONE_AND_END = b"data: [DONE]\n\n\r\n0\r\n\r\n"
"""How a stream of events usually ends. Its payloads are JSON, which cannot hold that."""


class HttpConnection(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    finished: called with the connection and the exchange whenever one ends, from the event
    loop; the connection may then be used again when `usable`. on_close: called when it is
    gone.
    """

    __slots__ = (
        "_chunked", "_complete", "_counts", "_descriptor", "_finished", "_keep", "_later",
        "_loop", "_on_close", "_parser", "_pieces", "_reads", "_size", "_times", "_transport",
        "_twin", "_watched", "_weighed", "exchange", "on_body", "usable", "used",
    )  # fmt: skip

    def __init__(
        self,
        finished: Callable[[HttpConnection, Exchange], None],
        on_close: Callable[[HttpConnection], None],
    ) -> None:
        self._finished = finished
        self._on_close = on_close
        self._pieces: list[bytes] = []
        # The parser calls this for each piece of a body: a method written in C, no Python frame.
        self.on_body = self._pieces.append
        self._reads: list[bytes] = []
        self._times: list[float] = []
        self._counts: list[int] = []
        self._size = self._weighed = 0
        self._chunked = False
        self._later = False
        self._complete = False
        self._keep = True
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._twin: socket.socket | None = None
        self._watched = False
        self._parser = HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.usable = False
        self.used = 0

    # -- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only like them.
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._twin = arrival.twin_of(self._descriptor)
        self.usable = True

    def data_received(self, data: bytes, at: float | None = None) -> None:
        """at: when it came, where that is known already."""
        now = perf_counter() if at is None else at
        if self.exchange is None:
            self.close()  # it speaks without being asked
            return
        self._times.append(now)
        self._reads.append(data)
        if self._later and not data.endswith(_END) and len(data) > 3:
            return
        if self._later and self._ends_as_usual(data):
            self._end(now)
            return
        self._catch_up()

    def _ends_as_usual(self, data: bytes) -> bool:
        """Whether the answer is known to be over without a look at its framing."""
        if len(data) < len(_DONE_AND_END) and len(self._reads) > 1:
            data = self._reads[-2][-len(_DONE_AND_END) :] + data
        return data.endswith(_DONE_AND_END)

    def _catch_up(self) -> None:
        """Take apart what was left for later, up to now."""
        for number in range(len(self._counts), len(self._reads)):
            try:
                self._parser.feed_data(self._reads[number])
            except HttpParserError as error:
                self._keep = False
                if not self._complete:
                    self._break_off(self._times[-1], Fault("protocol", f"not HTTP: {error}"))
                    return
            self._counts.append(len(self._pieces))
            if self._complete:
                # What follows the end was sent without being asked.
                self._keep = self._keep and number == len(self._reads) - 1
                del self._reads[number + 1 :], self._times[number + 1 :]
                self._end(self._times[-1])
                return
        self._weigh()

    def _weigh(self) -> None:
        """Put an end to what is too large."""
        self._size += sum(map(len, self._reads[self._weighed :]))
        self._weighed = len(self._reads)
        if self._size > ANSWER_LIMIT:
            text = f"the answer is larger than {ANSWER_LIMIT >> 20} MiB"
            self._break_off(self._times[-1], Fault("protocol", text))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = self._keep = False
        self._watch_no_longer()
        if self._twin is not None:
            self._twin.close()
        self._descriptor = -1
        if self.exchange is not None:
            self._catch_up()
        if self.exchange is not None:
            self.exchange.closed = True
            self._end(perf_counter())
        self._on_close(self)

    # -- what the parser calls ----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"transfer-encoding":
            self._chunked = value.strip().lower() == b"chunked"

    def on_headers_complete(self) -> None:
        if self.exchange is not None:
            self.exchange.status = status = self._parser.get_status_code()
            self._later = status == 200 and self._chunked and self._parser.should_keep_alive()
            self._chunked = False

    def on_message_complete(self) -> None:
        if self.exchange is None or 100 <= self.exchange.status < 200:
            return  # an interim answer: the real one follows
        self._complete = True
        self._keep = self._keep and self._parser.should_keep_alive()

    # -- what the transport calls --------------------------------------------------------------

    def send(self, exchange: Exchange, request: bytes) -> None:
        """Write the request, its clock started. The answer comes to `finished`."""
        transport = self._transport
        assert transport is not None and self.exchange is None
        self.exchange = exchange
        self.used += 1
        written = 0
        request = self.sealed(request)
        self.watch()
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

    def watch(self) -> None:
        """Read past the transport, for the kernel's time, until the next answer's body begins.
        `send` sees to it; done before, its time is not a part of a burst of requests."""
        if self._watched or not self.usable:
            return
        if self._twin is not None and self._transport is not None:
            self._loop = asyncio.get_running_loop()
            self._transport.pause_reading()
            self._loop.add_reader(self._twin, self._readable)
            self._watched = True

    def _readable(self) -> None:
        assert self._twin is not None
        data, waited = arrival.read(self._twin)
        if data is None:
            return
        exchange = self.exchange
        if data:
            at = perf_counter() - waited
            self.data_received(data, at if exchange is None else max(at, exchange.sent))
        begun = self._pieces and (waited < _LATE_S or len(self._times) >= _MOST_WATCHED)
        if not data or begun or (exchange is not None and self.exchange is None):
            # The rest, or what ended the connection, is for the transport.
            self._watch_no_longer()

    def _watch_no_longer(self) -> None:
        if self._watched and self._twin is not None and self._loop is not None:
            self._watched = False
            self._loop.remove_reader(self._twin)
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def sealed(self, request: bytes) -> bytes:
        """The request as it goes over the wire."""
        return request

    def last_read(self) -> float | None:
        """When the last bytes came; None before the first of the body: only headers may be there
        while the request still waits for its turn."""
        return self._times[-1] if self._pieces else None

    def look(self, now: float, quiet_s: float) -> None:
        """Called now and then: once nothing has come for `quiet_s`, look at what has come so far;
        it may be nonsense, or over."""
        if self.exchange is None or len(self._counts) == len(self._reads):
            return
        if now - self._times[-1] > quiet_s:
            self._catch_up()
        else:
            self._weigh()

    def tail(self) -> bytes:
        """The last piece of the running exchange's body, as far as it was looked at."""
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
        """Hand the exchange over, as far as it was taken apart."""
        exchange, self.exchange = self.exchange, None
        pieces, times, counts, reads = self._pieces.copy(), self._times, self._counts, self._reads
        if len(counts) == len(reads):
            reads = []
        elif not self._complete:
            # The parser is still in the middle of this answer.
            self._parser = HttpResponseParser(self)
        # The list stays the parser's; its content goes along.
        self._pieces.clear()
        self._reads, self._times, self._counts = [], [], []
        self._size = self._weighed = 0
        self._complete = self._later = self._chunked = False
        if not self._keep:
            self.close()
        if exchange is not None:
            exchange.pieces, exchange.times, exchange.counts = pieces, times, counts
            exchange.reads = reads
            exchange.ended = now
            self._finished(self, exchange)
