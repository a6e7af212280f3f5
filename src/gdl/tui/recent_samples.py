"""The last minutes of what can be seen of a machine and its endpoint, sample by sample."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gdl.domain.health import HealthSample
from gdl.domain.readings import GpuLoad

KEPT = 180
"""Samples of each kind; one is taken a second."""


def _series() -> deque[float]:
    return deque(maxlen=KEPT)


@dataclass(slots=True)
class RecentSamples:
    """Newest last. memory, percent, kv_cache: shares, 0-1. gpu, sample: the latest of all;
    count: how many there were."""

    memory: deque[float] = field(default_factory=_series)
    percent: deque[float] = field(default_factory=_series)
    running: deque[float] = field(default_factory=_series)
    waiting: deque[float] = field(default_factory=_series)
    kv_cache: deque[float] = field(default_factory=_series)
    tokens_per_s: deque[float] = field(default_factory=_series)
    gpu: GpuLoad | None = None
    sample: HealthSample | None = None
    count: int = 0

    def take(self, gpu: GpuLoad | None, sample: HealthSample | None) -> None:
        """One more of each; what was not measured gets none."""
        self.gpu, self.sample = gpu, sample
        self.count += 1
        if gpu is not None:
            _add(self.memory, gpu.share)
            _add(self.percent, None if gpu.percent is None else gpu.percent / 100)
        if sample is not None:
            _add(self.running, sample.running)
            _add(self.waiting, sample.waiting)
            _add(self.kv_cache, sample.kv_cache)
            _add(self.tokens_per_s, sample.tokens_per_s)


def _add(series: deque[float], value: float | None) -> None:
    if value is not None:
        series.append(value)
