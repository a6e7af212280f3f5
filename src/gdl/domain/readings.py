"""What is seen of a machine and its endpoint while a deployment goes on: for gauges and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from gdl.domain.health import Check
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Phase


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """All GPUs of a machine now. percent: of the busiest; temperature_c: of the hottest; None:
    not told."""

    used_mib: int | None = None
    total_mib: int | None = None
    percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None

    @property
    def share(self) -> float | None:
        """Of the memory in use, 0-1."""
        if self.used_mib is None or not self.total_mib:
            return None
        return min(self.used_mib / self.total_mib, 1.0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a machine received and sent since its network came up: of a rented one mostly
    since it was started, downloads and tunnel and all."""

    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class CheckRound:
    """All health checks at one time."""

    at: datetime
    checks: tuple[Check, ...]


PhaseTimes = Mapping[Phase, float]
"""Seconds by phase; phases that were not passed are missing."""


def typical(past: Sequence[tuple[str, PhaseTimes]], model: str) -> dict[Phase, float]:
    """The median time of each phase in past attempts, each with its model: of those of this model
    where there are some, else of all."""
    found: dict[Phase, float] = {}
    for phase in Phase:
        of_all = [(name, times[phase]) for name, times in past if phase in times]
        of_model = [seconds for name, seconds in of_all if name == model]
        if seconds := of_model or [seconds for _name, seconds in of_all]:
            found[phase] = median(seconds)
    return found
