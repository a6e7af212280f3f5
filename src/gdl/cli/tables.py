"""Tables and the figures of a benchmark, as lines for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from gdl.domain.money import dollars
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.domain.benchmark import BenchReport, Percentiles


_LEAST = 10
"""Columns that every column of a table keeps, and"""
_WORD = 20
"""for a word of that length or longer, when the terminal is wide enough."""
_WHOLE = 36
"""An id of up to so many columns is shown on one line, to be copied, before others get any."""
_NAME = 24
"""What is no longer, such as a machine's name, is not folded as long as a column can be spared."""
_LAST_RESORT = 3


def width(text: str) -> int:
    """Columns that a text takes: wide East Asian characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    columns: int | None = None,
    spare: Sequence[str] = (),
    omitted: list[str] | None = None,
) -> list[str]:
    """Aligned lines, headings first. Headings that start with ">" are aligned to the right.

    The last column, where reasons and hints stand, may be long. columns: a terminal's; what is
    wider goes without the `spare` columns, the first of them first, which `omitted` is told, and is
    folded, the last column first. None: a row is a line, however long.
    """
    names = [heading.removeprefix(">") for heading in headings]
    right = [heading.startswith(">") for heading in headings]
    limits = [120] * (len(names) - 1) + [400]
    cells: list[Sequence[str]] = [names, *([*map(plain, row, limits)] for row in rows)]
    widths = [max(width(line[column]) for line in cells) for column in range(len(names))]
    if columns is not None:
        shown = _shown(names, right, cells, widths, columns, spare)
        if omitted is not None:
            omitted += [name for column, name in enumerate(names) if column not in shown]
        right, widths = [right[n] for n in shown], [widths[n] for n in shown]
        cells = [[line[n] for n in shown] for line in cells]
    if columns is not None:
        widths = _narrowed(cells, widths, columns)
        cells = [part for line in cells for part in _folded(line, widths)]
    lines = []
    for line in cells:
        padded = (
            " " * (size - width(cell)) + cell if flush else cell + " " * (size - width(cell))
            for cell, size, flush in zip(line, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def _shown(
    names: Sequence[str],
    right: Sequence[bool],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    columns: int,
    spare: Sequence[str],
) -> list[int]:
    """Numbers of the columns that are shown: all where they fit, the last one and those that are
    wider than `_NAME` folded between words."""
    last = len(names) - 1
    least = []
    for n, (name, flush) in enumerate(zip(names, right, strict=True)):
        words = max(_longest_word(cells, n), width(name))
        short = widths[n] <= _NAME and n != last
        least.append(widths[n] if flush or short else min(widths[n], words))
    shown = list(range(len(names)))
    for name in spare:
        if sum(least[n] for n in shown) + 2 * (len(shown) - 1) <= columns:
            break
        shown = [n for n in shown if names[n] != name]
    return shown


def _longest_word(cells: Sequence[Sequence[str]], column: int) -> int:
    longest = max(width(word) for line in cells for word in line[column].split(" "))
    return min(longest, _WHOLE)


def _narrowed(cells: Sequence[Sequence[str]], widths: list[int], columns: int) -> list[int]:
    """As wide as fits: the last column is narrowed first, then the widest. Words are
    kept whole where that is enough.
    """
    narrowed = list(widths)
    over = sum(widths) + 2 * (len(widths) - 1) - columns
    spare = min(over, widths[-1] - 2 * _WORD)
    if spare > 0:
        narrowed[-1] -= spare
        over -= spare
    words = [
        min(_longest_word(cells, column), _WHOLE if column < len(widths) - 1 else _WORD)
        for column in range(len(widths))
    ]
    for floors in (
        [max(word, _LEAST) for word in words],
        [_LEAST] * len(widths),
        [_LAST_RESORT] * len(widths),
    ):
        while over > 0 and any(size > floor for size, floor in zip(narrowed, floors, strict=True)):
            widest = max(
                range(len(narrowed)), key=lambda n: narrowed[n] if narrowed[n] > floors[n] else 0
            )
            narrowed[widest] -= 1
            over -= 1
    return narrowed


def _folded(line: Sequence[str], widths: Sequence[int]) -> list[tuple[str, ...]]:
    """One row in as many lines as its longest cell needs."""
    cells = (_pieces(cell, size) for cell, size in zip(line, widths, strict=True))
    return [*zip_longest(*cells, fillvalue="")]


def _pieces(text: str, size: int) -> list[str]:
    """Cut at blanks where there are some, each piece at most `size` columns wide."""
    pieces = []
    while width(text) > size:
        end = size
        if not text.isascii():
            end = next(end for end in range(1, len(text)) if width(text[: end + 1]) > size)
        blank = text.rfind(" ", 0, end + 1)
        end = blank if blank > 0 else end
        pieces.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*pieces, text]


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
