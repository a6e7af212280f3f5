"""Whether the load generator itself was the bottleneck: its event loop's lag and its CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gdl.loadgen.stats import percentile

EVERY_S = 0.01
BUSY_SHARE = 0.9
"""Of one core, from which on the generator cannot have kept up for sure."""
WAIT_SHARE = 0.1
"""Of the time, from which on a wait for a core is named as the reason."""
LAG_LIMIT_MS = 10.0
"""99th percentile of the loop's lag: what it may add to one in a hundred times."""


@dataclass(frozen=True, slots=True)
class Strain:
    """cpu_s: CPU seconds of all processes that sent requests, `processes` in number. Of the one
    that was worst off: cpu_share: of one core, 1.0 = all of it; lag_p99_ms, lag_max_ms: how late
    the event loop's timers fired; wait_share: of the time, waiting for a core that others had, 0
    where the system does not tell."""

    cpu_s: float = 0.0
    cpu_share: float = 0.0
    lag_p99_ms: float = 0.0
    lag_max_ms: float = 0.0
    wait_share: float = 0.0
    processes: int = 1

    @property
    def busy(self) -> bool:
        """Whether the generator can do no more: a higher load would tell nothing of the server.
        What is only late, as others had its core, can be tried at a higher load all the same."""
        return self.cpu_share >= BUSY_SHARE

    @property
    def limited(self) -> str:
        """Why the figures are the generator's rather than the server's; "" when they are not."""
        who = "the load generator"
        if self.processes > 1:
            who = f"one of the load generator's {self.processes} processes"
        if self.busy:
            return f"{who} used {self.cpu_share:.0%} of a core"
        if self.lag_p99_ms < LAG_LIMIT_MS:
            return ""
        why = ""
        if self.wait_share >= WAIT_SHARE:
            why = f", and waited {self.wait_share:.0%} of the time for a core that others had"
        return f"{who} was up to {self.lag_p99_ms:.0f} ms late (p99){why}"

    @classmethod
    def of_all(cls, strains: Sequence[Strain]) -> Strain:
        """Of several processes at once: whichever was late has made its part of the figures late,
        however well the others were off."""
        return cls(
            cpu_s=sum(one.cpu_s for one in strains),
            cpu_share=max(one.cpu_share for one in strains),
            lag_p99_ms=max(one.lag_p99_ms for one in strains),
            lag_max_ms=max(one.lag_max_ms for one in strains),
            wait_share=max(one.wait_share for one in strains),
            processes=len(strains),
        )


class StrainMonitor:
    """Runs from `start` to `stop`. A timer every 10 ms; what it is late is the loop's lag, less
    the millisecond to which event loops round their timers."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._began = self._cpu = self._waited = 0.0

    def start(self) -> None:
        self._cpu, self._waited = time.process_time(), _waited_s()
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
        span, waited = max(now - self._began, 1e-9), _waited_s() - self._waited
        if self._timer is not None:
            self._timer.cancel()
        if now > self._due:
            self._lags.append(now - self._due)
        return Strain(
            cpu_s=cpu,
            cpu_share=cpu / span,
            lag_p99_ms=percentile(self._lags, 99) * 1000 if self._lags else 0.0,
            lag_max_ms=max(self._lags, default=0.0) * 1000,
            wait_share=waited / span,
        )


def _waited_s() -> float:
    """Seconds for which this process was ready to run and had no core, as Linux counts them."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
