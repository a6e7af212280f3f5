"""The last minutes of what can be seen of a machine and its endpoint, sample by sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gdl.domain.health import HealthSample
from gdl.domain.readings import GpuLoad

KEPT = 180
"""Samples of each kind; one is taken a second."""

_BLOCKS = "▁▂▃▄▅▆▇█"


def _series() -> deque[float]:
    return deque(maxlen=KEPT)


@dataclass(slots=True)
class Gauges:
    """Newest last. memory, percent, kv_cache: shares, 0-1. gpu, sample: the latest of all;
    looks: how many there were."""

    memory: deque[float] = field(default_factory=_series)
    percent: deque[float] = field(default_factory=_series)
    running: deque[float] = field(default_factory=_series)
    waiting: deque[float] = field(default_factory=_series)
    kv_cache: deque[float] = field(default_factory=_series)
    tokens_per_s: deque[float] = field(default_factory=_series)
    gpu: GpuLoad | None = None
    sample: HealthSample | None = None
    looks: int = 0

    def take(self, gpu: GpuLoad | None, sample: HealthSample | None) -> None:
        """One more look; what it does not tell gets no sample."""
        self.gpu, self.sample = gpu, sample
        self.looks += 1
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


def sparkline(values: Iterable[float], width: int, top: float | None = None) -> str:
    """The last `width` values as blocks, right-aligned; `top` is a full block (the highest value
    when None). Zero is the lowest block, never a gap."""
    shown = list(values)[-width:]
    highest = top if top is not None else max(shown, default=0.0)
    steps = len(_BLOCKS) - 1
    blocks = (
        _BLOCKS[min(max(round(value / highest * steps), 0), steps)] if highest > 0 else _BLOCKS[0]
        for value in shown
    )
    return "".join(blocks).rjust(width)


def bar(share: float, width: int) -> tuple[str, str]:
    """(the full part, the empty part) of a progress bar."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "━" * full, "─" * (width - full)
