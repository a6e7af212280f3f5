"""Requests to Vast.ai: paths with their slash at the end, keys that end, good answers or errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from gdl.backends.http import Answer, NoAnswer, ServiceHttp, Unusable
from gdl.backends.service_clock import ServiceClock
from gdl.backends.vastai import errors
from gdl.backends.vastai.keys import FoundKey
from gdl.domain.errors import BackendError

V0, V1 = "/api/v0", "/api/v1"
PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of a read: requests to one endpoint must be some time apart, how much
is not told."""


class VastHttp:
    """keys: those to be used, best first, see `find_keys`."""

    def __init__(
        self,
        url: str,
        read_timeout: float,
        keys: Sequence[FoundKey],
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: ServiceClock,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._keys = list(keys)
        self.clock = clock
        self._http = ServiceHttp(
            url,
            read_timeout,
            transport,
            clock=clock,
            words=errors.WORDS,
            key=self._keys[0].secret,
            pauses=pauses,
        )
        self.shown_url = self._http.shown_url

    @property
    def key(self) -> FoundKey:
        """The one in use."""
        return self._keys[0]

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(
        self, path: str, doing: str, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The object of a good answer to a read. Raises BackendUnreachable, BackendRefused,
        BackendError."""
        return self.data(await self.read("GET", path, params=params), doing)

    async def read(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        """Any answer to a read, tried again while the trouble looks transient."""
        while True:
            answer = await self._http.read(
                method, path, params=params, body=body, final=errors.quota_gone
            )
            if not self._next_key(answer):
                return answer

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One request, once; again alone where the key of a session that is over was refused.
        Raises as `ServiceHttp.send`."""
        while True:
            answer = await self._http.send(method, path, params=params, body=body, timeout=timeout)
            if not self._next_key(answer):
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
                "whether it was done is not known: look, then ask again",
            ) from None

    def data(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The object of a good answer. Raises BackendRefused, also for a good status whose object
        says `success: false`, or BackendError."""
        if not answer.ok:
            raise errors.refused(answer, doing)
        try:
            data = answer.mapping()
        except Unusable as what:
            raise errors.unusable(self.shown_url, str(what)) from None
        if data.get("success") is False:
            raise errors.refused(answer, doing)
        return data

    def wrong_shape(self, what: str) -> BackendError:
        return errors.unusable(
            self.shown_url, f"JSON that is not its interface's ({what} missing or wrong)"
        )

    def _next_key(self, answer: Answer) -> bool:
        """Whether the request is to be sent again with another key: that of a two-factor session
        was refused, so that nothing came of it."""
        if len(self._keys) < 2 or not self.key.passing or not errors.session_over(answer):
            return False
        self._keys.pop(0)
        self._http.key = self.key.secret
        return True
