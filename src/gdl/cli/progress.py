"""Signs of life while something takes its time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from gdl.cli.output import say
from gdl.domain.errors import GdlError
from gdl.presentation.durations import clock_time

T = TypeVar("T")


async def with_progress(work: Awaitable[T], what: str, every_s: float = 15.0) -> T:
    """The result of `work`, with a line on stderr at once and every so many seconds."""
    task = asyncio.ensure_future(work)
    say(f"{what} ...")
    waited = 0.0
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            waited += every_s
            say(f"{what} ... {clock_time(waited)}")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, GdlError):
                await task
