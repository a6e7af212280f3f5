"""Work that a cancellation does not cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gdl.domain.errors import ReleaseUnconfirmed

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when we are cancelled meanwhile, and more than once; then the
    cancellation goes on, or the ReleaseUnconfirmed that `work` ended with, which matters more.
    Only for work that is bounded in time by itself."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled() and isinstance(task.exception(), ReleaseUnconfirmed):
            return task.result()
        raise
