"""The time of day as this process counts it: nothing that sets the computer's clock moves it.

Costs, remaining times and limits are differences of such times. A laptop that sleeps, and a clock
that is set while something runs, must not make them negative, or end something at once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_COUNTING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that goes on while the computer sleeps; Python's own monotonic one may not."""


class SteadyClock:
    """The computer's clock as it was when this was made, and the time that has passed since."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._counted = time.clock_gettime(_COUNTING)

    def now(self) -> datetime:
        return self._began + timedelta(seconds=time.clock_gettime(_COUNTING) - self._counted)


now = SteadyClock().now
"""Of this process, UTC."""


def time_of_day(at: datetime) -> str:
    """As the clock on the wall of whoever reads it shows it, with its zone: "16:41 CET"."""
    return f"{at.astimezone():%H:%M %Z}"


def day_and_time(at: datetime) -> str:
    """The same with its day: "28 Nov 16:41 CET"."""
    return f"{at.astimezone():%d %b} {time_of_day(at)}"
