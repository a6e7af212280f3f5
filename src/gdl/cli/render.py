"""Values to text for a terminal. Pure; what comes from elsewhere goes through `plain`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.domain.text import flat

if TYPE_CHECKING:
    from gdl.domain.benchmark import BenchReport, Percentiles
    from gdl.domain.host import HostFacts


def plain(value: object, limit: int = 2000) -> str:
    """One line without escape sequences, control or direction characters; at most `limit` long.

    Line breaks and tabs become spaces, so that one value stays on one line.
    """
    return flat(str(value), limit).strip()


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


def money(dollars: float) -> str:
    """$0.40, and $0.0012 where cents would show nothing."""
    return f"${dollars:.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.4f}"


def price(dollars: float) -> str:
    return f"{money(dollars)}/h" if dollars else "free"


def elapsed(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    whole = max(int(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else elapsed(seconds)


def machine(gpu_name: str, gpu_count: int, vram_gb: float = 0.0) -> str:
    """ "2x RTX 4090 24 GB", or "CPU" where there is no GPU."""
    if gpu_count <= 0:
        return plain(gpu_name, 60) or "CPU"
    size = f" {vram_gb:.0f} GB" if vram_gb else ""
    return f"{gpu_count}x {plain(gpu_name, 60) or 'GPU'}{size}"


def host(facts: HostFacts) -> str:
    """What a look at the machine found, in one line."""
    if facts.gpus:
        first = facts.gpus[0]
        gpus = f"{len(facts.gpus)}x {first.name} {first.memory_mib / 1024:.0f} GiB"
        gpus += f", driver {facts.driver}" if facts.driver else ""
    else:
        gpus = "no GPU" + (f" ({facts.gpu_error})" if facts.gpu_error else "")
    python = f", Python {facts.pythons[0]}" if facts.pythons else ""
    return plain(
        f"{facts.os} {facts.arch}, {facts.cpu_count} cores, {facts.ram_gib:.0f} GiB RAM, "
        f"{facts.disk_free_gib:.0f} GiB free, {gpus}{python}"
    )


def bench(report: BenchReport) -> list[str]:
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
        rows.append(("cost per 10^6 output tokens", money(report.cost_per_million)))
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
