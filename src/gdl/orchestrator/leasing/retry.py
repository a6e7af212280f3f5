"""Asking again while a backend is overloaded: with jitter, as it wishes, and not for ever."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import BackendError, BackendRefused, BackendUnreachable, GdlError

T = TypeVar("T")
Tell = Callable[[str], Awaitable[None]]

LONGEST_S = 180.0
"""How long an overloaded or restarting backend is borne with, all in all."""
_GARBLED_TRIES = 3
_FIRST_S, _MOST_S = 0.4, 20.0


class Retries:
    """Whether a backend is worth asking again, and when, up to `limit_s` seconds from now."""

    def __init__(self, limit_s: float = LONGEST_S) -> None:
        self._deadline = time.monotonic() + limit_s
        self._pauses = Backoff(_FIRST_S, _MOST_S, growth=RETRYING, jitter=(0.5, 1.0))
        self.tries = 0

    def pause(self, error: BackendError, *, reached: bool = True) -> float | None:
        """Seconds to wait before asking again, or None: it is no use. reached: the backend has
        answered before, so that an unreachable one may come back."""
        self.tries += 1
        if not self._worth_it(error, reached):
            return None
        # As the backend wishes, and not all at the same moment.
        wait = self._pauses.at_least(wished_s(error) * random.uniform(1.0, 1.1))  # noqa: S311
        return wait if time.monotonic() + wait < self._deadline else None

    def _worth_it(self, error: BackendError, reached: bool) -> bool:
        if isinstance(error, BackendRefused):
            return overloaded(error)
        if isinstance(error, BackendUnreachable):
            return reached
        return self.tries < _GARBLED_TRIES


def wished_s(error: GdlError) -> float:
    """Seconds that a backend's answer asks to be left alone for; 0 where it does not."""
    return error.retry_after or 0.0 if isinstance(error, BackendRefused) else 0.0


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
    retries = Retries(limit_s)
    while True:
        try:
            return await ask()
        except BackendError as error:
            wait = retries.pause(error, reached=reached)
            if wait is None:
                raise
            await tell(f"{error.message}: asking again in {wait:.1f} s (try {retries.tries + 1})")
        await asyncio.sleep(wait)
