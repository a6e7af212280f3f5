"""Requests to the model hub, or a mirror of it: reads alone, bounded in size and time.

httpx, which the program has anyway, and not the hub's own client: that one has no asynchronous
calls, takes twice as long to import and brings an HTTP library of its own. What is used here is two
paths of an interface that mirrors speak as well.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Self

import httpx

from gdl.domain.errors import GdlError, HubAway
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.text import one_line

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_TRANSIENT = frozenset({500, 502, 503, 504})
_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 3.0
"""A longer Retry-After is said, not waited for."""
_CONNECT_S = 5.0
_CONNECTIONS = 8
_LONGEST_ERROR = 1 << 16
_RATE = re.compile(r'"\w+"\s*;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})')
"""The hub's RateLimit header when nothing is left for the next t seconds."""


class TooLarge(GdlError):
    """The answer is longer than what was asked for may be."""

    kind = "hub_too_large"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. code, message: what the hub says of an error in its own headers. commit: the
    revision that it answered for. total: bytes of the whole file where a part was asked for."""

    status: int
    code: str
    message: str
    commit: str
    total: int
    content_type: str
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Raises HubAway for what is not JSON: it comes from somebody in between, or is cut."""
        if "html" in self.content_type or self.body.lstrip()[:1] == b"<":
            raise HubAway(
                "the model hub answers with an HTML page",
                "a proxy or a login page is in between; check HF_ENDPOINT and the network",
            )
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            what = "nothing" if not self.body.strip() else "what is not JSON"
            raise HubAway(
                f"the model hub answers with {what}", "check HF_ENDPOINT; try again later"
            ) from None


class HubHttp:
    """A client of one hub. timeout_s: for one request as a whole, redirects included. requests
    counts what was sent. The token goes to the hub's own host alone."""

    def __init__(
        self,
        endpoint: str,
        token: Secret | None = None,
        *,
        timeout_s: float = 6.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._origin = httpx.URL(endpoint)
        self.shown = one_line(self._origin.host, 80)
        self._token = token
        self._timeout_s = timeout_s
        self.requests = 0
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=30.0),
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        limit: int,
        first_bytes: int | None = None,
    ) -> Answer:
        """One answer of at most `limit` bytes. first_bytes: of a file, no more than these; what
        is longer is cut off there.

        Raises HubAway when nothing usable comes, TooLarge before anything too long is read.
        """
        url = self._origin.copy_with(path=self._origin.path.rstrip("/") + path)
        for last in (False, True):
            answer = await self._timed(url, params, limit, first_bytes)
            if answer.status == 429:
                wait = _retry_after(answer)
                if last or not 0 < wait <= _LONGEST_PAUSE_S:
                    raise self._busy(wait)
            elif answer.status in _TRANSIENT:
                wait = _PAUSE_S
                if last:
                    raise HubAway(
                        f"the model hub has trouble of its own (HTTP {answer.status})",
                        "try again later",
                        everywhere=True,
                    )
            else:
                return answer.answer
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def _busy(self, wait: float) -> HubAway:
        when = f"in {wait:.0f} s" if wait else "in some minutes"
        more = "" if self._token else "; with HF_TOKEN set it allows more"
        return HubAway(
            "the model hub takes no more requests for now",
            f"try again {when}{more}",
            everywhere=True,
        )

    async def _timed(
        self, url: httpx.URL, params: Mapping[str, Any] | None, limit: int, first: int | None
    ) -> _Told:
        """One request with its redirects. Raises HubAway, TooLarge."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._redirected(url, params, limit, first)
        except (TimeoutError, httpx.TimeoutException) as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise self._away("cannot be reached") from None
            raise self.silent() from None
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.ProxyError):
            raise self._away("cannot be reached") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            raise self._away("breaks its answer off") from None

    def silent(self) -> HubAway:
        """That it took longer than it may."""
        return self._away(f"does not answer within {self._timeout_s:g} s")

    def _away(self, what: str) -> HubAway:
        return HubAway(
            f"the model hub ({self.shown}) {what}",
            "check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 works without it",
            everywhere=True,
        )

    async def _redirected(
        self, url: httpx.URL, params: Mapping[str, Any] | None, limit: int, first: int | None
    ) -> _Told:
        ours = True
        for _ in range(_MOST_REDIRECTS + 1):
            headers = {"accept-encoding": "identity", "user-agent": "gdl-tui"}
            if first is not None:
                headers["range"] = f"bytes=0-{first - 1}"
            if ours and self._token:
                headers["authorization"] = f"Bearer {self._token.reveal()}"
            request = self._client.build_request("GET", url, params=params, headers=headers)
            self.requests += 1
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await _whole(response, limit, first)
                params = None
                url = request.url.join(response.headers["location"])
                # Once outside, a way back does not count: somebody else has chosen it.
                ours = ours and self._is_ours(url)
            finally:
                await response.aclose()
        raise self._away("sends from one address to the next without end")

    def _is_ours(self, url: httpx.URL) -> bool:
        """The hub's own host and port, or the same host by TLS."""
        if url.host != self._origin.host or url.scheme not in ("http", "https"):
            return False
        if (url.scheme, _port(url)) == (self._origin.scheme, _port(self._origin)):
            return True
        return url.scheme == "https" and self._origin.port is None and url.port is None


@dataclass(frozen=True, slots=True)
class _Told:
    answer: Answer
    retry_after: str
    rate: str

    @property
    def status(self) -> int:
        return self.answer.status


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _retry_after(told: _Told) -> float:
    """Seconds, as Retry-After or the hub's RateLimit says; 0.0 where neither does."""
    try:
        return max(0.0, min(float(told.retry_after), 86_400.0))
    except ValueError:
        found = _RATE.search(told.rate)
        return float(found.group(1)) if found else 0.0


async def _whole(response: httpx.Response, limit: int, first: int | None) -> _Told:
    """Read it, and stop at the limit. Raises TooLarge."""
    headers = response.headers
    cut = _LONGEST_ERROR if response.status_code >= 400 else first
    told = headers.get("content-length", "")
    if cut is None and told.isdigit() and int(told) > limit:
        raise _too_large(f"{int(told) / 1e6:.0f} MB", limit)
    body = bytearray()
    # Unpacked nowhere: a small answer must not become a large one.
    async for chunk in response.aiter_raw():
        body += chunk
        if cut is not None and len(body) >= cut:
            del body[cut:]
            break
        if len(body) > limit:
            raise _too_large("no end of it", limit)
    answer = Answer(
        status=response.status_code,
        code=one_line(headers.get("x-error-code", ""), 60),
        message=one_line(headers.get("x-error-message", ""), 200),
        commit=one_line(headers.get("x-repo-commit", ""), 64),
        total=_total(headers.get("content-range", ""), told),
        content_type=headers.get("content-type", ""),
        body=bytes(body),
    )
    return _Told(answer, headers.get("retry-after", ""), headers.get("ratelimit", ""))


def _total(content_range: str, content_length: str) -> int:
    found = re.fullmatch(r"bytes \d+-\d+/(\d{1,18})", content_range)
    number = found.group(1) if found else content_length
    return int(number) if number.isdigit() else 0


def _too_large(size: str, limit: int) -> TooLarge:
    return TooLarge(
        f"the model hub's answer is too large: {size} where at most "
        f"{limit / 1e6:.0f} MB make sense",
        "something is wrong with the repository; choose another copy of the model",
    )
