"""Requests to a marketplace's service, and what can be said about them when they go wrong.

The difference that matters for a rent request: was it certainly not sent (`BackendUnreachable`),
or may it have been acted upon (`NoAnswer`)? Redirects are never followed: they would turn a rent
request into a read, and carry the key to another address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import httpx

from gdl.backends.answer import Answer, parse_retry_after
from gdl.backends.service_clock import ServiceClock
from gdl.domain.errors import BackendError, BackendUnreachable, RentAmbiguous
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.text import one_line

_PAUSES = (0.2, 0.4)
"""Seconds between the tries of a read, where nothing else is known of a service."""
_LONGEST_WAIT = 5.0
"""A longer Retry-After is the caller's to honour, not ours to sleep through."""
_TRANSIENT = frozenset({429, 502, 503, 504})
_MAX_BODY = 16 * 1024 * 1024
_MAX_CONNECT_S = 10.0

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class NoAnswer(Exception):
    """The request may have been acted upon, and no whole answer came back."""

    def __init__(self, what: str, *, timed_out: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class ServiceWords:
    """A service in the words of errors. name: as in "the address of NAME". away: what helps when
    nothing answers. no_answer: what helps when a read has no usable answer."""

    name: str
    away: str
    no_answer: str


class ServiceHttp:
    """One client for one service. `read_timeout` seconds for a whole ordinary request. clock: what
    it learns about the service's clock. key: sent as a bearer token; another may take its place.
    pauses: seconds between the tries of a read, of which there is one more."""

    def __init__(
        self,
        url: str,
        read_timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: ServiceClock,
        words: ServiceWords,
        key: Secret | None = None,
        pauses: Sequence[float] = (),
    ) -> None:
        self.clock = clock
        self.key = key
        self._pauses = tuple(pauses)
        self._words = words
        self._parsed = _parse(url, words)
        self.shown_url = one_line(str(self._parsed.copy_with(userinfo=b"")), 200)
        self._read_timeout = read_timeout
        self._client = _client(self._parsed, transport)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, retry: bool = True
    ) -> Answer:
        """A read, see `read`."""
        return await self.read("GET", path, params=params, retry=retry)

    async def read(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        retry: bool = True,
    ) -> Answer:
        """A request that changes nothing: tried again while the trouble looks transient.

        Raises BackendUnreachable, or BackendError when the connection is cut each time.
        """
        waits = (self._pauses or _PAUSES) if retry else ()
        for left, pause in zip(range(len(waits), -1, -1), (*waits, 0.0), strict=True):
            try:
                answer = await self.send(method, path, params=params, body=body)
            except NoAnswer as missing:
                if not left or missing.timed_out:
                    raise BackendError(
                        f"no usable answer from {self.shown_url}: {missing.what}",
                        self._words.no_answer,
                    ) from None
                wait = pause
            else:
                if answer.status not in _TRANSIENT or not left or self._final(answer):
                    return answer
                wait = max(pause, answer.retry_after or 0.0)
                if wait > _LONGEST_WAIT:
                    return answer
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One request, once; again alone where nothing came of it but that another key is needed.
        `timeout`: seconds for all of it (default: the read time-out).

        Raises BackendUnreachable when it was certainly not sent, NoAnswer when it may have been.
        """
        while True:
            answer = await self._send(method, path, params, body, timeout)
            if not self._another_key(answer):
                return answer

    async def change(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """A request that changes something and may be repeated. No answer is a BackendError."""
        try:
            return await self.send(method, path, params=params, body=body, timeout=timeout)
        except NoAnswer as missing:
            raise BackendError(
                f"no usable answer from {self.shown_url}: {missing.what}",
                "it is not known whether it was done: check, then try again",
            ) from None

    async def rent(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        *,
        timeout: float,
        sent_at: datetime,
    ) -> Answer:
        """A request for a machine, never repeated. No answer is a RentAmbiguous."""
        try:
            return await self.send(method, path, body=body, timeout=timeout)
        except NoAnswer as missing:
            what = f"no answer to the rent request: {missing.what}"
            raise RentAmbiguous(what, sent_at=sent_at) from None

    def _final(self, answer: Answer) -> bool:
        """Whether an answer to a read is one that another try would not better."""
        return False

    def _another_key(self, answer: Answer) -> bool:
        """Whether the answer turns down the key alone, and another has taken its place."""
        return False

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, object] | None,
        timeout: float | None,
    ) -> Answer:
        seconds = self._read_timeout if timeout is None else timeout
        connect = min(seconds, _MAX_CONNECT_S)
        request = self._client.build_request(
            method,
            self._parsed.copy_with(path=self._parsed.path.rstrip("/") + path),
            params=dict(params) if params else None,
            json=body,
            headers={"Authorization": f"Bearer {self.key.reveal()}"} if self.key else None,
            timeout=httpx.Timeout(seconds, connect=connect, pool=connect),
        )
        try:
            async with asyncio.timeout(seconds + connect):
                return await self._exchange(request)
        except _NOT_SENT as error:
            raise self.unreachable(isinstance(error, httpx.TimeoutException)) from None
        except (TimeoutError, httpx.TimeoutException):
            raise NoAnswer(f"no answer within {seconds:.0f} s", timed_out=True) from None
        except httpx.UnsupportedProtocol:
            raise self.unreachable(False) from None
        except httpx.DecodingError:
            raise NoAnswer("the answer cannot be decoded") from None
        except (httpx.HTTPError, httpx.StreamError, OSError):
            raise NoAnswer("the connection was cut before the answer was complete") from None

    async def _exchange(self, request: httpx.Request) -> Answer:
        began = time.monotonic()
        response = await self._client.send(request, stream=True)
        self.clock.answered(response.headers.get("date"), time.monotonic() - began)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BODY:
                    raise NoAnswer("the answer is larger than 16 MiB")
        finally:
            await response.aclose()
        return Answer(
            status=response.status_code,
            content_type=response.headers.get("content-type", "").lower(),
            retry_after=parse_retry_after(response.headers.get("retry-after"), self.clock.theirs()),
            body=bytes(body),
            headers={name.lower(): value for name, value in response.headers.items()},
        )

    def unreachable(self, timed_out: bool) -> BackendUnreachable:
        why = " (no connection in time)" if timed_out else ""
        return BackendUnreachable(f"nothing answers at {self.shown_url}{why}", self._words.away)


def _parse(url: str, words: ServiceWords) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        raise BackendUnreachable(
            f"the address of {words.name} is not a usable URL", "it looks like http://host:port"
        )
    return parsed


def _client(url: httpx.URL, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Raises BackendUnreachable when the environment names a proxy or certificates that are of no
    use. What it names is not shown: a proxy's address may hold a password."""
    try:
        return httpx.AsyncClient(
            transport=transport,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=False,
            verify=_tls(url.scheme),
            # A proxy from the environment cannot reach this machine's own loopback.
            trust_env=not _is_loopback(url.host),
        )
    except ImportError:
        what, hint = "a SOCKS proxy", "it needs one more package: pip install 'httpx[socks]'"
    except OSError:
        what, hint = "certificates", "check SSL_CERT_FILE and SSL_CERT_DIR"
    except (ValueError, httpx.InvalidURL):
        what, hint = "a proxy", "check ALL_PROXY, HTTP_PROXY and HTTPS_PROXY, or set NO_PROXY"
    raise BackendUnreachable(f"the environment names {what} that cannot be used", hint)


def _tls(scheme: str) -> ssl.SSLContext:
    """The system's certificates; for plain HTTP a context that trusts nobody, as reading the
    certificates takes longer than everything else at the start."""
    if scheme == "https":
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
