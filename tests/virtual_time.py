"""An event loop whose time passes only when nothing else is left to do: hours in moments, and the
same every time. Sockets on loopback are real; whoever measures must ask the loop for the time."""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")

_LOOKS = 4
"""How often is looked before nothing is taken to be on its way: the loopback device delivers as
soon as something is written."""


class _Selector(selectors.DefaultSelector):
    """Does not sleep: it moves the clock on by as much as it was told to sleep."""

    now = 0.0
    threads = 0
    """Calls that are at work in threads. They wake the loop when they are done, in real time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.threads:
            return super().select(None)
        for _ in range(_LOOKS):
            os.sched_yield()
            if ready := super().select(0):
                return ready
        self.now += timeout
        return ready


class VirtualClock:
    """Stands in for the module `time` where something measures."""

    def __init__(self) -> None:
        self.selector = _Selector()

    def perf_counter(self) -> float:
        return self.selector.now

    def monotonic(self) -> float:
        return self.selector.now

    def process_time(self) -> float:
        return 0.0

    def time(self) -> float:
        return 1.8e9 + self.selector.now

    def _came_back(self, _done: asyncio.Future[Any]) -> None:
        self.selector.threads -= 1

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As asyncio.run, in this clock's time."""

        def made() -> asyncio.AbstractEventLoop:
            loop = asyncio.SelectorEventLoop(self.selector)
            loop.time = self.perf_counter  # type: ignore[method-assign]
            in_thread = loop.run_in_executor

            def counted(*call: Any) -> asyncio.Future[Any]:
                self.selector.threads += 1
                done = in_thread(*call)
                done.add_done_callback(self._came_back)
                return done

            loop.run_in_executor = counted  # type: ignore[assignment, method-assign]
            return loop

        with asyncio.Runner(loop_factory=made) as runner:
            return runner.run(work)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """For a test that measures by its loop's time alone."""

    @functools.wraps(test)
    def run(*given: P.args, **named: P.kwargs) -> None:
        VirtualClock().run(test(*given, **named))

    return run


def dates_by_the_loop(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """In the named modules `datetime.now` is the loop's time, too."""

    class LoopDate(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> LoopDate:
            return cls.fromtimestamp(1.8e9 + asyncio.get_running_loop().time(), tz or UTC)

    for module in modules:
        monkeypatch.setattr(f"{module}.datetime", LoopDate)


def clock_for(monkeypatch: pytest.MonkeyPatch, *places: str) -> VirtualClock:
    """A clock that the named attributes use: "module.time", or "module.perf_counter"."""
    clock = VirtualClock()
    for place in places:
        whole = place.endswith(".time")
        monkeypatch.setattr(place, clock if whole else clock.perf_counter)
    return clock
