"""What is measured of a deployment while its server runs. Never journaled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.domain.health import Check, HealthSample
from gdl.domain.readings import CheckRound, GpuLoad, Traffic

ROUNDS_KEPT = 60


class LiveReadings:
    """health: how the endpoint is now, None before it is held and after that was ended on purpose.
    gpu: what the GPUs do, None before a server runs on them. traffic: of the machine while its
    server serves, None until it was read. rounds: the latest rounds of checks, oldest first."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.health: HealthSample | None = None
        self.gpu: GpuLoad | None = None
        self.traffic: Traffic | None = None
        self.rounds: deque[CheckRound] = deque(maxlen=ROUNDS_KEPT)

    def keep_round(self, checks: Sequence[Check]) -> None:
        """All checks have been made once more."""
        if checks:
            self.rounds.append(CheckRound(self._clock(), tuple(checks)))
