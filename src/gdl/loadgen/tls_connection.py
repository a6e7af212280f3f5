"""The hot path over TLS: requests are sealed before their clock starts, and what comes has its time
before it is opened, so that TLS's own work is in no figure of the answer that it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from time import perf_counter

from gdl.endpoint.protocol import Fault
from gdl.endpoint.tls import tls_fault
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.http_connection import HttpConnection

_RECORD = 2**14
"""Bytes that a record of TLS holds at most."""


class TlsConnection(HttpConnection):
    """See `HttpConnection`. To be used once `secured` has returned.

    The event loop's own TLS would put requests off to the end of its turn, and give the time of a
    read after opening it. name: of the host, as its certificate is to have it.
    """

    __slots__ = ("_incoming", "_name", "_outgoing", "_secured", "_tls")

    def __init__(
        self,
        finished: Callable[[HttpConnection, Exchange], None],
        on_close: Callable[[HttpConnection], None],
        context: ssl.SSLContext,
        name: str,
    ) -> None:
        super().__init__(finished, on_close)
        self._name = name
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._secured: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def secured(self) -> None:
        """Wait for the handshake. Raises ssl.SSLError, or ConnectionError when the connection
        ends before."""
        await self._secured

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.usable = False
        self._shake_hands()

    def data_received(self, data: bytes, at: float | None = None) -> None:
        now = perf_counter() if at is None else at
        self._incoming.write(data)
        if not self._secured.done():
            self._shake_hands()
            if not self.usable:
                return
        self._open(now)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._secured.done():
            self._secured.set_exception(error or ConnectionResetError("closed"))
        super().connection_lost(error)

    def sealed(self, request: bytes) -> bytes:
        self._tls.write(request)
        return self._outgoing.read()

    def close(self) -> None:
        if self.usable:
            # Says that it is over: some servers complain in their log otherwise.
            with contextlib.suppress(ssl.SSLError, OSError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                os.write(self._descriptor, self._outgoing.read())
        super().close()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ValueError) as error:
            self._flush()  # the alert that says why
            if not self._secured.done():
                self._secured.set_exception(error)
            return
        self._flush()
        self.usable = True
        if not self._secured.done():
            self._secured.set_result(None)

    def _open(self, now: float) -> None:
        """Hand on what the records hold, as one read."""
        pieces: list[bytes] = []
        fault: Fault | None = None
        over = False
        try:
            # Asked when there is something alone: an exception costs as much as a record.
            while self._incoming.pending or self._tls.pending():
                piece = self._tls.read(_RECORD)
                if not piece:
                    over = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            over = True
        except ssl.SSLError as error:
            # A server of TLS 1.3 refuses a client after the handshake, too.
            fault = tls_fault(error, self._name, agreed=True)
        if self._outgoing.pending:
            self._flush()
        if pieces:
            super().data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces), now)
        if fault is not None and self.exchange is not None:
            self.give_up(fault)
        elif fault is not None or over:
            super().close()  # `connection_lost` ends what is under way

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())
