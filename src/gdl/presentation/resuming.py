"""Words for a deployment that was interrupted."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gdl.domain.money import dollars
from gdl.presentation.durations import clock_time
from gdl.presentation.hardware import HasGpus, gpus


class HasMachine(HasGpus, Protocol):
    @property
    def since(self) -> datetime: ...

    @property
    def cost(self) -> float: ...

    @property
    def price_per_hour(self) -> float: ...


def machine_that_you_have(row: HasMachine, now: datetime) -> str:
    """Such as "the machine that you have (RTX 4090, for 0:07, $0.02 so far)"."""
    told = [gpus(row), f"for {clock_time((now - row.since).total_seconds())}"]
    if row.price_per_hour:
        told.append(f"{dollars(row.cost)} so far")
    return f"the machine that you have ({', '.join(part for part in told if part)})"
