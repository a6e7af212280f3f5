"""Whether the load generator itself was the bottleneck: its event loop's lag and its CPU."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gdl.loadgen.stats import percentile

EVERY_S = 0.01
BUSY_SHARE = 0.9
"""Of one core, from which on the generator cannot have kept up for sure."""
LAG_LIMIT_MS = 10.0
"""99th percentile of the loop's lag: what it may add to one in a hundred times."""


@dataclass(frozen=True, slots=True)
class Strain:
    """cpu_s: CPU seconds of this process; cpu_share: of one core, 1.0 = all of it. lag_p99_ms,
    lag_max_ms: how late the event loop's timers fired."""

    cpu_s: float
    cpu_share: float
    lag_p99_ms: float
    lag_max_ms: float

    @property
    def limited(self) -> str:
        """Why the figures are the generator's rather than the server's; "" when they are not."""
        if self.cpu_share >= BUSY_SHARE:
            return f"the load generator used {self.cpu_share:.0%} of a core"
        if self.lag_p99_ms >= LAG_LIMIT_MS:
            return f"the load generator was up to {self.lag_p99_ms:.0f} ms late (p99)"
        return ""


class StrainMonitor:
    """Runs from `start` to `stop`. A timer every 10 ms; what it is late is the loop's lag, less
    the millisecond to which event loops round their timers."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._began = self._cpu = 0.0

    def start(self) -> None:
        self._cpu = time.process_time()
        self._began = time.perf_counter()
        self._arm()

    def _arm(self) -> None:
        self._due = time.perf_counter() + EVERY_S
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)

    def _tick(self) -> None:
        self._lags.append(max(time.perf_counter() - self._due - 0.001, 0.0))
        self._arm()

    def stop(self) -> Strain:
        """Call it as soon as the load has ended, before anything is decoded."""
        now, cpu = time.perf_counter(), time.process_time() - self._cpu
        if self._timer is not None:
            self._timer.cancel()
        if now > self._due:
            self._lags.append(now - self._due)
        return Strain(
            cpu_s=cpu,
            cpu_share=cpu / max(now - self._began, 1e-9),
            lag_p99_ms=percentile(self._lags, 99) * 1000 if self._lags else 0.0,
            lag_max_ms=max(self._lags, default=0.0) * 1000,
        )
