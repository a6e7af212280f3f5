"""Small sums that several figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gdl.domain.benchmark import Histogram
from gdl.domain.money import for_a_million
from gdl.endpoint.protocol import StreamResult


def percentile(samples: Sequence[float], percent: float) -> float:
    """The value below which `percent` (0-100) of the samples lie, with linear interpolation
    between the two nearest ones, as numpy's default. Raises ValueError without samples."""
    if not samples:
        raise ValueError("no samples")
    if not 0 <= percent <= 100:
        raise ValueError("a percentage is between 0 and 100")
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    # From the nearer end, so that rounding cannot leave the interval.
    share = place - math.floor(place)
    value = low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
    return min(max(value, low), high)


def histogram(ordered: Sequence[float], bins: int = 10) -> Histogram | None:
    """Of sorted values, none below 0; None without any. Bins begin at round numbers, one more than
    `bins` at most, and none is narrower than a hundredth of the highest value."""
    if not ordered:
        return None
    low, high = ordered[0], ordered[-1]
    width = _round_up(max((high - low) / bins, high / 100))
    if width <= 0:
        return Histogram(low, 0.0, (len(ordered),))
    # A hair above a bin's edge is on it.
    start = math.floor(low / width + 1e-9) * width
    places = [int((value - start) / width + 1e-9) for value in ordered]
    counts = [0] * (places[-1] + 1)
    for place in places:
        counts[place] += 1
    return Histogram(start, width, tuple(counts))


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten; 0 for what is too small to be told."""
    if value < 1e-9:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def tokens_per_s(result: StreamResult) -> float | None:
    """Output tokens of one request over its whole time (E2EL); None when it cannot be told."""
    if not result.ok or not result.output_tokens or result.e2el_ms <= 0:
        return None
    return result.output_tokens * 1000 / result.e2el_ms


def cost_per_million(price_per_hour: float, output_throughput: float) -> float | None:
    """Dollars per 10^6 output tokens, at a price in dollars an hour and a throughput in tokens
    a second; None when the machine costs nothing or nothing was generated."""
    if price_per_hour <= 0 or output_throughput <= 0:
        return None
    return for_a_million(price_per_hour, output_throughput)
