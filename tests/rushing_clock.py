"""An event loop whose time can be made to pass faster than that of the world: an outage of ten
minutes in two seconds, while everything else takes its time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LATE_S = 0.5
"""Of the rushing clock. The system waits whole milliseconds at least."""


class RushingClock:
    """Stands in for the module `time` where something measures. rate: its seconds in one of the
    world's."""

    def __init__(self) -> None:
        self.rate = 1.0
        self._ahead = 0.0

    def monotonic(self) -> float:
        return self._ahead + time.monotonic()

    perf_counter = monotonic

    @contextlib.contextmanager
    def rushing(self, rate: float) -> Iterator[None]:
        before, self.rate = self.rate, rate
        try:
            yield
        finally:
            self.rate = before

    def waited(self, took_s: float, timeout: float | None) -> None:
        """Only a wait rushes, and no further than LATE_S beyond its end: work takes its time, and a
        computer that is busy elsewhere makes nothing late."""
        passed = took_s * self.rate
        if timeout is not None:
            passed = min(passed, max(timeout + LATE_S, took_s))
        self._ahead += passed - took_s

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As asyncio.run, in this clock's time."""
        clock = self

        class Selector(selectors.DefaultSelector):
            def select(
                self, timeout: float | None = None
            ) -> list[tuple[selectors.SelectorKey, int]]:
                begun = time.monotonic()
                found = super().select(None if timeout is None else timeout / clock.rate)
                clock.waited(time.monotonic() - begun, timeout)
                return found

        def made() -> asyncio.AbstractEventLoop:
            loop = asyncio.SelectorEventLoop(Selector())
            loop.time = clock.monotonic  # type: ignore[method-assign]
            return loop

        with asyncio.Runner(loop_factory=made) as runner:
            return runner.run(work)


def in_rushing_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """For a test that takes a `clock`."""

    @functools.wraps(test)
    def run(*given: P.args, **named: P.kwargs) -> None:
        clock = named["clock"]
        assert isinstance(clock, RushingClock)
        clock.run(test(*given, **named))

    return run
