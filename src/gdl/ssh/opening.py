"""Channels that nobody is left to close.

When whoever opens a channel is cancelled, asyncssh gives up waiting, and leaves open what the
server opens all the same, for as long as the connection lasts: a session that nobody uses, of the
few that a machine allows on a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_late: set[asyncio.Task[Any]] = set()
"""Each ends with its connection at the latest."""


async def opened(opening: Awaitable[T], late: Callable[[T], None]) -> T:
    """What `opening` opens. late: is given it when the caller was cancelled meanwhile, to close."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _late.add(task)
        task.add_done_callback(lambda done: _came(done, late))
        raise


def _came(task: asyncio.Task[T], late: Callable[[T], None]) -> None:
    _late.discard(task)
    if not task.cancelled() and task.exception() is None:
        late(task.result())
