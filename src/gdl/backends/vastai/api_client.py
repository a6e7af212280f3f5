"""Requests to Vast.ai: paths with their slash at the end, keys that end, good answers or errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from gdl.backends.answer import Answer, Unusable
from gdl.backends.http import ServiceHttp
from gdl.backends.service_clock import ServiceClock
from gdl.backends.vastai import errors
from gdl.backends.vastai.keys import FoundKey
from gdl.domain.errors import BackendError

V0, V1 = "/api/v0", "/api/v1"
PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of a read: requests to one endpoint must be some time apart, how much
is not told."""


class VastHttp(ServiceHttp):
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
        super().__init__(
            url,
            read_timeout,
            transport,
            clock=clock,
            words=errors.WORDS,
            key=self._keys[0].secret,
            pauses=pauses,
        )

    @property
    def found_key(self) -> FoundKey:
        """The one in use."""
        return self._keys[0]

    async def get_data(
        self, path: str, doing: str, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The object of a good answer to a read. Raises BackendUnreachable, BackendRefused,
        BackendError."""
        return self.data(await self.get(path, params), doing)

    async def pages(
        self, path: str, rows: str, what: str, params: Mapping[str, str], most: int
    ) -> list[dict[str, Any]]:
        """Every page of a list, at least one, each with its `rows`. A list that is not whole proves
        nothing, so that a page that cannot be read, or more than `most`, is an error."""
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        asked = dict(params)
        for _ in range(most):
            data = await self.get_data(path, f"list the {what}", asked)
            if not isinstance(data.get(rows), list):
                raise self.wrong_shape(f"a list of {what}")
            found.append(data)
            token = data.get("next_token")
            if not token:
                return found
            if not isinstance(token, str) or token in seen:
                raise self.wrong_shape(f"the next page of {what}")
            seen.add(token)
            asked["after_token"] = token
        raise self.wrong_shape(f"the end of the {what}")

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

    def _final(self, answer: Answer) -> bool:
        return errors.quota_gone(answer)

    def _another_key(self, answer: Answer) -> bool:
        """The key of a two-factor session ends; the account's own comes after it."""
        if len(self._keys) < 2 or not self.found_key.passing or not errors.session_over(answer):
            return False
        self._keys.pop(0)
        self.key = self.found_key.secret
        return True
