"""When the requests of an open loop are due: seconds after its start, rising."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

from gdl.domain.errors import UsageError


@dataclass(frozen=True, slots=True)
class Arrivals:
    """rate: requests a second. burstiness: the shape of the gamma distribution of the gaps: 1 is
    Poisson, less comes in bursts, more is steadier, infinity is a constant gap. ramp_to: the rate
    rises (or falls) to this one, evenly over the requests."""

    rate: float
    burstiness: float = 1.0
    ramp_to: float | None = None

    @classmethod
    def parse(cls, text: str, burstiness: float = 1.0) -> Arrivals:
        """From "5", or "1..20" for a ramp. Raises UsageError."""
        first, dots, last = text.partition("..")
        try:
            rate, to = float(first), float(last) if dots else None
        except ValueError:
            rate, to = math.nan, None
        if not 0 < rate < math.inf or not (to is None or 0 < to < math.inf):
            raise UsageError(f"not a rate: {text!r}", "requests a second: 5, or 1..20 for a ramp")
        if not burstiness > 0:
            raise UsageError(f"not a burstiness: {burstiness:g}", "a number above 0; inf is steady")
        return cls(rate, burstiness, to)

    def times(self, count: int, chance: random.Random) -> list[float]:
        """`count` times. As `vllm bench serve` has it: the first is one gap after the start and,
        without a ramp, all are scaled so that the last falls at count / rate."""
        gaps = [self._gap(self._rate_at(number, count), chance) for number in range(count)]
        times = list(itertools.accumulate(gaps))
        if self.ramp_to is None and times and times[-1] > 0:
            scale = count / self.rate / times[-1]
            times = [time * scale for time in times]
        return times

    def _rate_at(self, number: int, count: int) -> float:
        if self.ramp_to is None:
            return self.rate
        return self.rate + (self.ramp_to - self.rate) * number / max(count - 1, 1)

    def _gap(self, rate: float, chance: random.Random) -> float:
        if math.isinf(self.burstiness):
            return 1 / rate
        return chance.gammavariate(self.burstiness, 1 / (rate * self.burstiness))
