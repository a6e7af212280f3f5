"""From the figures of a load to the report that is shown, kept and compared."""

from __future__ import annotations

from collections.abc import Sequence

from gdl.domain.benchmark import BenchReport, Percentiles, QualityAnswer
from gdl.endpoint.protocol import StreamResult
from gdl.loadgen.decode import Sample
from gdl.loadgen.metrics import Figures, Spread
from gdl.loadgen.stats import cost_per_million


def report(
    model: str,
    figures: Figures,
    *,
    price_per_hour: float,
    concurrency: int,
    quality: Sequence[QualityAnswer] = (),
    note: str = "",
) -> BenchReport:
    """note: what speaks against the figures, "" for nothing."""
    errors = figures.error_lines
    if figures.counted_chunks:
        errors = (*errors, f"{figures.counted_chunks} x no token counts: chunks were counted")
    return BenchReport(
        model=model,
        completed=figures.completed,
        failed=figures.failed,
        duration_s=figures.duration_s,
        input_tokens=figures.input_tokens,
        output_tokens=figures.output_tokens,
        request_throughput=figures.request_throughput,
        output_throughput=figures.output_throughput,
        ttft_ms=_percentiles(figures.ttft_ms),
        tpot_ms=_percentiles(figures.tpot_ms),
        e2el_ms=_percentiles(figures.e2el_ms),
        quality_passed=sum(answer.passed for answer in quality),
        quality_total=len(quality),
        cost_per_million=cost_per_million(price_per_hour, figures.output_throughput),
        concurrency=concurrency,
        errors=errors,
        note=note,
        ttft_spread=figures.ttft_ms.histogram if figures.ttft_ms else None,
        e2el_spread=figures.e2el_ms.histogram if figures.e2el_ms else None,
    )


def _percentiles(spread: Spread | None) -> Percentiles | None:
    if spread is None:
        return None
    return Percentiles(spread.mean, spread.median, spread.percentiles[95], spread.p99)


def sample(result: StreamResult, start: float, tag: int) -> Sample:
    """An answer that came another way than the load generator's, as one of its samples. start:
    seconds on `perf_counter`'s clock."""
    return Sample(
        start=start,
        sent=start,
        ttft=None if result.ttft_ms is None else result.ttft_ms / 1000,
        latency=result.e2el_ms / 1000,
        itls=tuple(gap / 1000 for gap in result.itls_ms),
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        error=result.error,
        kind=result.kind or result.error,
        tag=tag,
    )
