"""What an endpoint and its machine do now, and did in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdl.domain.health import Condition, HealthSample
from gdl.presentation.lines import plain
from gdl.presentation.words import milliseconds
from gdl.tui.recent_samples import RecentSamples
from gdl.tui.widgets.meters import sparkline

_Row = tuple[str, Sequence[float], float | None, str]
"""Name, the series, its top (None: its own highest value), the value now in words."""


def engine_line(sample: HealthSample) -> Text:
    """State of the endpoint now, and how quickly it says so."""
    well = sample.condition is Condition.HEALTHY
    mark, style = ("●", "bold green") if well else ("!", "bold yellow")
    text = Text(f"{mark} ", style, no_wrap=True, overflow="ellipsis")
    text.append(sample.condition.value, style)
    reason = (plain(sample.reason, 120),) if sample.reason else ()
    quick = (f"answers in {milliseconds(sample.latency_ms)}",) if sample.latency_ms else ()
    text.append("".join(f" · {part}" for part in (*reason, *quick)), "default")
    return text


def live(
    samples: RecentSamples, sample: HealthSample | None, width: int
) -> tuple[RenderableType, int]:
    """(the engine's line and a row for each two things that are measured, how many rows that is).
    width: cells."""
    parts: list[RenderableType] = []
    if sample is not None:
        parts.append(engine_line(sample))
    rows = _engine_rows(samples, sample) + _gpu_rows(samples)
    if rows:
        parts.append(_table(rows, width))
    return Group(*parts), (sample is not None) + (len(rows) + 1) // 2


def _engine_rows(samples: RecentSamples, sample: HealthSample | None) -> list[_Row]:
    if sample is None:
        return []
    rows: list[_Row] = []
    if sample.running is not None:
        rows.append(("Running", samples.running, None, f"{sample.running:.0f}"))
    if sample.waiting is not None:
        rows.append(("Waiting", samples.waiting, None, f"{sample.waiting:.0f}"))
    if sample.kv_cache is not None:
        rows.append(("KV cache", samples.kv_cache, 1.0, f"{sample.kv_cache:.0%}"))
    if sample.tokens_per_s is not None:
        rows.append(("Tokens/s", samples.tokens_per_s, None, f"{sample.tokens_per_s:.0f}"))
    return rows


def _gpu_rows(samples: RecentSamples) -> list[_Row]:
    load = samples.gpu
    if load is None:
        return []
    rows: list[_Row] = []
    if load.percent is not None:
        warm = "" if load.temperature_c is None else f" {load.temperature_c} °C"
        power = "" if load.power_w is None else f" {load.power_w:.0f} W"
        rows.append(("GPU", samples.percent, 1.0, f"{load.percent}%{warm}{power}"))
    if load.used_mib is not None and load.total_mib:
        used, total = load.used_mib / 1024, load.total_mib / 1024
        rows.append(("VRAM", samples.memory, 1.0, f"{used:.1f}/{total:.1f} GiB"))
    return rows


def _table(rows: Sequence[_Row], width: int) -> Table:
    """Two columns of rows."""
    table = Table.grid(padding=(0, 1))
    for _side in range(2):
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=16)
    spark = max(width // 2 - 8 - 16 - 6, 6)
    half = (len(rows) + 1) // 2
    for left in range(half):
        cells: list[Text] = []
        for name, series, top, words in rows[left::half]:
            line = sparkline(series, min(spark, 40), top)
            cells += [Text(f"{name:8}", "dim"), Text(line, "cyan"), Text(words, "bold")]
        table.add_row(*cells)
    return table
