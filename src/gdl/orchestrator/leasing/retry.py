"""Asking again while a backend is overloaded: with jitter, as it wishes, and not for ever."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gdl.domain.errors import BackendError, BackendRefused, BackendUnreachable

T = TypeVar("T")
Tell = Callable[[str], Awaitable[None]]

LONGEST_S = 180.0
"""How long an overloaded or restarting backend is borne with, all in all."""
_GARBLED_TRIES = 3
_FIRST_S, _GROWTH, _MOST_S = 0.4, 2.0, 20.0


class Backoff:
    """Pauses between tries, up to `limit_s` seconds from now."""

    def __init__(self, limit_s: float = LONGEST_S) -> None:
        self._deadline = time.monotonic() + limit_s
        self._pause = _FIRST_S
        self.tries = 0

    def pause(self, error: BackendError, *, reached: bool = True) -> float | None:
        """Seconds to wait before asking again, or None: it is no use. reached: the backend has
        answered before, so that an unreachable one may come back."""
        self.tries += 1
        if not self._worth_it(error, reached):
            return None
        wished = error.retry_after if isinstance(error, BackendRefused) else None
        jittered = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._pause = min(self._pause * _GROWTH, _MOST_S)
        wait = max(jittered, wished * random.uniform(1.0, 1.1)) if wished else jittered  # noqa: S311
        return wait if time.monotonic() + wait < self._deadline else None

    def _worth_it(self, error: BackendError, reached: bool) -> bool:
        if isinstance(error, BackendRefused):
            return overloaded(error)
        if isinstance(error, BackendUnreachable):
            return reached
        return self.tries < _GARBLED_TRIES


def overloaded(error: BackendError) -> bool:
    """Whether a backend answered that it cannot answer now."""
    if not isinstance(error, BackendRefused) or error.status is None:
        return False
    return error.status in (408, 429) or error.status >= 500


async def retrying(
    ask: Callable[[], Awaitable[T]],
    tell: Tell,
    *,
    limit_s: float = LONGEST_S,
    reached: bool = True,
) -> T:
    """The answer, asked for again while the trouble may pass. Raises the last BackendError."""
    backoff = Backoff(limit_s)
    while True:
        try:
            return await ask()
        except BackendError as error:
            wait = backoff.pause(error, reached=reached)
            if wait is None:
                raise
            await tell(f"{error.message}: asking again in {wait:.1f} s (try {backoff.tries + 1})")
        await asyncio.sleep(wait)
