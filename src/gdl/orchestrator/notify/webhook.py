"""Notices to a webhook: JSON with the same keys every time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gdl.domain.notices import Notice
from gdl.domain.serialization import to_plain
from gdl.settings.sections import is_loopback

if TYPE_CHECKING:
    import httpx

VERSION = 1
_LIMIT_S = 10.0
"""For one try, all of it."""
_AGAIN_AFTER_S = 2.0


class Webhook:
    """url: may hold a secret, and is never told; `host` is. transport: for tests."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self.host = urlsplit(url).hostname or ""

    async def send(self, notice: Notice) -> str:
        """POST it, and once more where the first try may fare better a second time. Why it was not
        taken, in a few words; "" when it was. Never raises for what a network can do."""
        why = ""
        for pause in (0.0, _AGAIN_AFTER_S):
            await asyncio.sleep(pause)
            why, again = await self._try(body_of(notice))
            if not again:
                return why
        return why

    async def _try(self, body: dict[str, Any]) -> tuple[str, bool]:
        """(why not, whether to try again)."""
        import httpx

        try:
            async with (
                asyncio.timeout(_LIMIT_S),
                httpx.AsyncClient(
                    timeout=_LIMIT_S,
                    transport=self._transport,
                    follow_redirects=False,
                    # A proxy of the environment has no way to a server on this computer.
                    trust_env=not is_loopback(self.host),
                ) as client,
                # What it answers is not read.
                client.stream("POST", self._url, json=body) as answer,
            ):
                status = answer.status_code
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer within {_LIMIT_S:.0f} s", True
        except httpx.HTTPError as error:
            return f"it cannot be reached ({type(error).__name__})", True
        except (httpx.InvalidURL, ValueError):
            return "its address cannot be used", False
        if 200 <= status < 300:
            return "", False
        if 300 <= status < 400:
            return f"it answered {status}, and redirects are not followed", False
        return f"it answered {status}", status == 429 or status >= 500


def body_of(notice: Notice) -> dict[str, Any]:
    """What is sent. The keys are a format: all of them, every time."""
    plain: dict[str, Any] = to_plain(notice)
    kind = plain.pop("kind")
    return {"version": VERSION, "event": kind, "title": notice.title, **plain}
