"""Waiting in tests for what is to come: short as can be, and with words when it does not come."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
LIMIT_S = 30.0
EVERY_S = 0.01


@overload
async def wait_until(
    holds: Callable[[], Awaitable[T]],
    what: str = "",
    *,
    limit_s: float = LIMIT_S,
    every_s: float = EVERY_S,
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> T: ...


@overload
async def wait_until(
    holds: Callable[[], T],
    what: str = "",
    *,
    limit_s: float = LIMIT_S,
    every_s: float = EVERY_S,
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> T: ...


async def wait_until(
    holds: Callable[[], Any],
    what: str = "",
    *,
    limit_s: float = LIMIT_S,
    every_s: float = EVERY_S,
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> Any:
    """What `holds` returns (or awaits) once that is true, asked for every `every_s`.

    what: what is waited for, for the message; without it, the code of `holds` stands there.
    pause: how the time passes until the next look. Raises AssertionError after `limit_s` seconds.
    """
    end = time.monotonic() + limit_s
    while True:
        value = holds()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(_message(holds, what, limit_s, value))
        await pause(every_s)


def block_until(holds: Callable[[], T], what: str = "", *, limit_s: float = LIMIT_S) -> T:
    """`wait_until` for tests without an event loop."""
    end = time.monotonic() + limit_s
    while not (value := holds()):
        if time.monotonic() > end:
            raise AssertionError(_message(holds, what, limit_s, value))
        time.sleep(EVERY_S)
    return value


def _message(holds: Callable[[], Any], what: str, limit_s: float, last: object) -> str:
    return f"not within {limit_s:g} s: {what or code_of(holds)} (last: {last!r:.200})"


def code_of(holds: Callable[[], Any]) -> str:
    """The lines where a condition is written, on one line."""
    try:
        return " ".join(inspect.getsource(holds).split())
    except (OSError, TypeError):
        return repr(holds)
