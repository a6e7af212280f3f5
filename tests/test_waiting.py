"""Whoever waits in vain is told for what."""

from __future__ import annotations

import itertools

import pytest

from waiting import block_until, wait_until


async def test_what_came_is_returned() -> None:
    numbers = itertools.count()

    async def later() -> int:
        return next(numbers) if next(numbers) > 2 else 0

    assert await wait_until(lambda: next(numbers) > 2)
    assert await wait_until(later, every_s=0.001) > 2
    assert block_until(lambda: "there") == "there"


async def test_what_did_not_come_is_named() -> None:
    empty: list[int] = []
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: .*lambda: empty.*last: \[\]"):
        await wait_until(lambda: empty, limit_s=0.05)
    with pytest.raises(AssertionError, match="not within 0 s: the end of the world"):
        block_until(lambda: None, "the end of the world", limit_s=0)
