"""The figures of a benchmark, defined as `vllm bench serve` defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from gdl.domain.models import BenchReport, Percentiles, QualityAnswer
from gdl.probes.protocol import StreamResult

_ERROR_LINES = 8


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


def percentiles(samples: Sequence[float]) -> Percentiles | None:
    """Mean, median, p95 and p99 in the samples' unit; None without samples."""
    if not samples:
        return None
    median, p95, p99 = (percentile(samples, p) for p in (50, 95, 99))
    return Percentiles(fmean(samples), median, p95, p99)


def tpot_ms(result: StreamResult) -> float | None:
    """Time per output token after the first: (E2EL - TTFT) / (output tokens - 1).

    None for a failure, an answer of one token, or one that was not streamed.
    """
    if not result.ok or result.ttft_ms is None or (result.output_tokens or 0) <= 1:
        return None
    return (result.e2el_ms - result.ttft_ms) / ((result.output_tokens or 0) - 1)


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
    return price_per_hour / 3600 / output_throughput * 1e6


def count_errors(results: Sequence[StreamResult]) -> tuple[str, ...]:
    """The failures by kind, most frequent first, such as "3 x connection refused"; the first
    one's words stand for its kind. Answers without token counts are told too: they are missing
    in the throughput."""
    counts: dict[str, int] = {}
    words: dict[str, str] = {}
    for result in results:
        kind, text = result.kind or result.error, result.error
        if result.ok:
            if result.output_tokens is not None:
                continue
            kind = text = "an answer without token counts"
        counts[kind] = counts.get(kind, 0) + 1
        words.setdefault(kind, text)
    ranked = sorted(counts, key=lambda kind: -counts[kind])[:_ERROR_LINES]
    return tuple(f"{counts[kind]} x {words[kind]}" for kind in ranked)


def build_report(
    model: str,
    results: Sequence[StreamResult],
    *,
    duration_s: float,
    price_per_hour: float,
    concurrency: int,
    quality: Sequence[QualityAnswer] = (),
) -> BenchReport:
    """The report over all timed requests. duration_s: first dispatch to last finish. Every figure
    but `failed` and `errors` is of the successes alone."""
    good = [result for result in results if result.ok]
    output = sum(result.output_tokens or 0 for result in good)
    per_s = 1 / duration_s if duration_s > 0 else 0.0
    return BenchReport(
        model=model,
        completed=len(good),
        failed=len(results) - len(good),
        duration_s=duration_s,
        input_tokens=sum(result.input_tokens or 0 for result in good),
        output_tokens=output,
        request_throughput=len(good) * per_s,
        output_throughput=output * per_s,
        ttft_ms=percentiles([r.ttft_ms for r in good if r.ttft_ms is not None]),
        tpot_ms=percentiles([t for r in good if (t := tpot_ms(r)) is not None]),
        e2el_ms=percentiles([r.e2el_ms for r in good]),
        quality_passed=sum(answer.passed for answer in quality),
        quality_total=len(quality),
        cost_per_million=cost_per_million(price_per_hour, output * per_s),
        concurrency=concurrency,
        errors=count_errors(results),
    )
