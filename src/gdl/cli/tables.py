"""Tables and the figures of a benchmark, as lines for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.domain.money import dollars
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.domain.benchmark import BenchReport, Percentiles


def width(text: str) -> int:
    """Columns that a text takes: wide East Asian characters two, combining ones none."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned lines, headings first. Headings that start with ">" are aligned to the right. The
    last column, where reasons and hints stand, may be long."""
    names = [heading.removeprefix(">") for heading in headings]
    right = [heading.startswith(">") for heading in headings]
    limits = [120] * (len(names) - 1) + [400]
    cells = [names, *([*map(plain, row, limits)] for row in rows)]
    widths = [max(width(line[column]) for line in cells) for column in range(len(names))]
    lines = []
    for line in cells:
        padded = (
            " " * (size - width(cell)) + cell if flush else cell + " " * (size - width(cell))
            for cell, size, flush in zip(line, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def benchmark_figures(report: BenchReport) -> list[str]:
    """The figures of a benchmark as lines."""
    rows: list[tuple[str, str]] = [
        ("model", report.model),
        ("requests", f"{report.completed} completed, {report.failed} failed"),
        ("duration", f"{report.duration_s:.2f} s at concurrency {report.concurrency}"),
        ("tokens", f"{report.input_tokens} in, {report.output_tokens} out"),
        ("requests per second", f"{report.request_throughput:.2f}"),
        ("output tokens per second", f"{report.output_throughput:.2f}"),
    ]
    for name, figures in (
        ("time to first token", report.ttft_ms),
        ("time per output token", report.tpot_ms),
        ("time to last token", report.e2el_ms),
    ):
        if figures is not None:
            rows.append((name, _percentiles(figures)))
    if report.quality_total:
        rows.append(("quality", f"{report.quality_passed} of {report.quality_total} answers right"))
    if report.cost_per_million is not None:
        rows.append(("cost per 10^6 output tokens", dollars(report.cost_per_million)))
    rows += [("error", error) for error in report.errors[:5]]
    last = (("note", report.note), ("compared", report.standing))
    rows += [(name, text) for name, text in last if text]
    names = max(len(name) for name, _ in rows)
    return [f"{name:<{names}}  {plain(text, 300)}" for name, text in rows]


def _percentiles(figures: Percentiles) -> str:
    return (
        f"mean {figures.mean:.1f}, median {figures.median:.1f}, "
        f"p95 {figures.p95:.1f}, p99 {figures.p99:.1f} ms"
    )
