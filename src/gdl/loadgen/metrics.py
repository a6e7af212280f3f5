"""The figures of a load, defined as `vllm bench serve` 0.32 defines them.

TTFT: to the first chunk that has choices. ITL: gaps between later chunks, over all requests. E2EL:
to the last of them. TPOT: (E2EL - TTFT) / (output tokens - 1), of answers of two tokens or more.
Throughputs are successes' tokens or requests over the duration: first dispatch to last finish.
Goodput: successes that meet every limit, a second. Percentiles as numpy's default, standard
deviation with ddof 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from gdl.domain.benchmark import Histogram
from gdl.domain.errors import UsageError
from gdl.loadgen.decode import Sample
from gdl.loadgen.stats import histogram, percentile

PERCENTS = (50, 90, 95, 99)
METRICS = ("ttft", "tpot", "itl", "e2el")
_SLO_METRICS = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric in milliseconds. percentiles: by percent, those of `PERCENTS`."""

    mean: float
    median: float
    std: float
    percentiles: dict[int, float]
    histogram: Histogram | None = None

    @property
    def p99(self) -> float:
        return self.percentiles[99]


@dataclass(frozen=True, slots=True)
class Slo:
    """The limits that a request must meet, in milliseconds, by metric (ttft, tpot, e2el)."""

    limits: dict[str, float]

    @classmethod
    def parse(cls, text: str) -> Slo:
        """From "ttft:500,tpot:50". Raises UsageError."""
        limits: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition(":")
            try:
                limit = float(value)
            except ValueError:
                limit = math.nan
            if name not in _SLO_METRICS or not 0 < limit < math.inf:
                raise UsageError(
                    f"not a limit: {part.strip()!r}", "such as ttft:500,tpot:50 (milliseconds)"
                )
            limits[name] = limit
        return cls(limits)

    def met_by(self, sample: Sample) -> bool:
        """An answer of one token has no TPOT; it counts as 0 here."""
        values = {
            "ttft": (sample.ttft or 0.0) * 1000,
            "tpot": (tpot_s(sample) or 0.0) * 1000,
            "e2el": sample.latency * 1000,
        }
        return all(values[name] <= limit for name, limit in self.limits.items())


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one load. duration_s: seconds; throughputs are a second; goodput: None
    without limits. most_at_once: the most requests that ran at a time, as vLLM counts it: in any
    one second. late_ms: how much later than due requests were sent, 99th percentile, None for a
    load without a timetable. counted_chunks: answers without token counts, whose chunks were
    counted instead."""

    duration_s: float
    completed: int
    failed: int
    input_tokens: int
    output_tokens: int
    request_throughput: float
    output_throughput: float
    total_throughput: float
    goodput: float | None = None
    good: int | None = None
    ttft_ms: Spread | None = None
    tpot_ms: Spread | None = None
    itl_ms: Spread | None = None
    e2el_ms: Spread | None = None
    most_tokens_per_s: float = 0.0
    most_at_once: int = 0
    late_ms: float | None = None
    counted_chunks: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    error_lines: tuple[str, ...] = ()

    def spread(self, metric: str) -> Spread | None:
        """By its name in `METRICS`."""
        found: Spread | None = getattr(self, f"{metric}_ms")
        return found


def tpot_s(sample: Sample) -> float | None:
    """Seconds for each output token after the first."""
    if not sample.ok or sample.ttft is None or sample.output <= 1:
        return None
    return (sample.latency - sample.ttft) / (sample.output - 1)


def spread(seconds: Sequence[float]) -> Spread | None:
    """Of values in seconds; None without any."""
    if not seconds:
        return None
    ordered = sorted(value * 1000 for value in seconds)
    mean = fmean(ordered)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / len(ordered))
    cuts = {percent: percentile(ordered, percent) for percent in PERCENTS}
    return Spread(mean, cuts[50], std, cuts, histogram(ordered))


def figures(samples: Sequence[Sample], duration_s: float, slo: Slo | None = None) -> Figures:
    """Every figure but `failed` and the errors is of the successes alone."""
    good = [sample for sample in samples if sample.ok]
    per_s = 1 / duration_s if duration_s > 0 else 0.0
    tokens_in = sum(sample.input_tokens or 0 for sample in good)
    tokens_out = sum(sample.output for sample in good)
    within = None if slo is None else sum(slo.met_by(sample) for sample in good)
    most_tokens, most_at_once = _busiest(good)
    late = sorted(s.sent - s.start for s in samples if s.sent != s.start)
    return Figures(
        duration_s=duration_s,
        completed=len(good),
        failed=len(samples) - len(good),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        request_throughput=len(good) * per_s,
        output_throughput=tokens_out * per_s,
        total_throughput=(tokens_in + tokens_out) * per_s,
        goodput=None if within is None else within * per_s,
        good=within,
        ttft_ms=spread([s.ttft for s in good if s.ttft is not None]),
        tpot_ms=spread([t for s in good if (t := tpot_s(s)) is not None]),
        itl_ms=spread([gap for s in good for gap in s.itls]),
        e2el_ms=spread([s.latency for s in good]),
        most_tokens_per_s=most_tokens,
        most_at_once=most_at_once,
        late_ms=percentile(late, 99) * 1000 if late else None,
        counted_chunks=sum(s.output_tokens is None for s in good),
        errors=dict(Counter(s.kind for s in samples if not s.ok).most_common()),
        error_lines=_error_lines(samples),
    )


def _error_lines(samples: Sequence[Sample]) -> tuple[str, ...]:
    """ "3 x http_500: HTTP 500: ...", most frequent kind first, in the first one's words."""
    words: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for sample in samples:
        if not sample.ok:
            counts[sample.kind] += 1
            words.setdefault(sample.kind, sample.error)
    return tuple(f"{n} x {kind}: {words[kind]}" for kind, n in counts.most_common(8))


def _busiest(samples: Sequence[Sample]) -> tuple[float, int]:
    """(tokens of the second in which most came, requests of the second in which most ran)."""
    if not samples:
        return 0.0, 0
    begin = min(sample.start for sample in samples)
    tokens: Counter[int] = Counter()
    running: Counter[int] = Counter()
    for sample in samples:
        at = sample.start - begin
        running.update(range(int(at), int(at + sample.latency) + 1))
        if sample.ttft is None:
            continue
        at += sample.ttft
        tokens[int(at)] += 1
        for gap in sample.itls:
            at += gap
            tokens[int(at)] += 1
    return float(max(tokens.values(), default=0)), max(running.values())
