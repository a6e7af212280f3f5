"""HTTP requests to the endpoint with httpx: bounded in time and size, failures as `Fault`."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import httpx

from gdl.endpoint.protocol import CLOSED, CLOSED_AT_ONCE, Fault

__all__ = [
    "ANSWER_LIMIT",
    "LIMIT",
    "BoundedTransport",
    "connect_limit_s",
    "time_limits",
    "transport_fault",
]

ANSWER_LIMIT = 16 * 2**20
"""Bytes of one answer; far above what any probe asks for."""
LIMIT = "gdl.answer_limit"
"""The extension of a request that says how many bytes its answer may have."""
_CONNECT_S = 10.0
_CONNECT_SHARE = 0.4
"""Of a time limit, for each of TCP's and TLS's part of a new connection: cancelled from outside in
the middle of a TLS handshake httpx leaves the socket open; at its own limit it closes it."""


def connect_limit_s(whole_s: float) -> float:
    return min(_CONNECT_S, whole_s * _CONNECT_SHARE)


def time_limits(whole_s: float) -> httpx.Timeout:
    """For a request that may take so long in all."""
    return httpx.Timeout(whole_s, connect=connect_limit_s(whole_s))


class _TooLarge(httpx.TransportError):
    pass


class _Unanswered(httpx.TransportError):
    """The connection ended before any of the answer had come."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Ends an answer that goes on beyond all reason."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx.ReadError, httpx.WriteError) as error:
            raise _Unanswered(str(error)) from error
        except httpx.RemoteProtocolError as error:
            if "without sending a response" not in str(error):
                raise
            raise _Unanswered(str(error)) from error
        if isinstance(response.stream, httpx.AsyncByteStream):
            limit = request.extensions.get(LIMIT, ANSWER_LIMIT)
            response.stream = _BoundedStream(response.stream, limit)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._limit:
                raise _TooLarge(f"the answer is larger than {self._limit >> 20} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def transport_fault(error: Exception) -> Fault:
    """What a failed connection means."""
    if isinstance(error, _TooLarge):
        return Fault("protocol", str(error), "something other than the model server answers here")
    if isinstance(error, httpx.ConnectError) or _errno(error) == errno.ECONNREFUSED:
        refused = _errno(error) in (None, errno.ECONNREFUSED)
        return Fault(
            "refused",
            "connection refused" if refused else f"cannot connect: {error}",
            "the tunnel is closed or the server does not listen",
        )
    if isinstance(error, _Unanswered | httpx.NetworkError | httpx.RemoteProtocolError | OSError):
        return Fault(
            "closed",
            CLOSED_AT_ONCE if isinstance(error, _Unanswered) else CLOSED,
            "the server is still starting or has died, or the SSH connection is lost",
        )
    return Fault("protocol", f"not a usable answer: {error}", "is this a model server?")


def _errno(error: BaseException) -> int | None:
    """The system's error number at the root of an exception, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        seen = seen.__cause__ or seen.__context__
    return None
