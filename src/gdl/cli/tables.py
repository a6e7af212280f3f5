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
_WHOLE = 40
"""An id of up to so many columns is shown on one line, to be copied, before others get any."""
_NAME = 24
"""What is no longer, such as a machine's name, is not folded as long as a column can be spared."""
_LAST_RESORT = 3
_DEEP = 3
"""Lines that a reason may be folded into beside its row; where it takes more, it stands beneath."""
_INDENT = " " * 4


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
    folded, the last column first. Where ids and words would not stay whole, or it would be folded
    deeply, the last column stands beneath the others. None: a row is a line, however long.
    """
    names = [heading.removeprefix(">") for heading in headings]
    right = [heading.startswith(">") for heading in headings]
    limits = [120] * (len(names) - 1) + [400]
    cells: list[Sequence[str]] = [names, *([*map(plain, row, limits)] for row in rows)]
    if columns is None:
        return _aligned(cells, _widest(cells), right)
    shown, beneath = _arranged(names, right, cells, columns, spare)
    if omitted is not None:
        omitted += [name for n, name in enumerate(names) if n not in (*shown, beneath)]
    below = ["" if beneath is None else line[beneath] for line in cells]
    cells, right = [[line[n] for n in shown] for line in cells], [right[n] for n in shown]
    widths = _narrowed(cells, _least(cells, right, prose=beneath is None), columns)
    lines = []
    for line, under in zip(cells, below, strict=True):
        lines += _aligned(_folded(line, widths), widths, right)
        if under:
            lines += [_INDENT + piece for piece in _pieces(under, columns - len(_INDENT))]
    return lines


def _aligned(
    cells: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]
) -> list[str]:
    lines = []
    for line in cells:
        padded = (
            " " * (size - width(cell)) + cell if flush else cell + " " * (size - width(cell))
            for cell, size, flush in zip(line, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def _arranged(
    names: Sequence[str],
    right: Sequence[bool],
    cells: Sequence[Sequence[str]],
    columns: int,
    spare: Sequence[str],
) -> tuple[list[int], int | None]:
    """Numbers of the columns that are shown beside each other, and of the one beneath them."""
    last = len(names) - 1
    shown = _shown(names, _least(cells, right), columns, spare)
    if last == 0 or right[last] or shown[-1] != last or columns < 2 * _WORD:
        return shown, None
    least = _least([[line[n] for n in shown] for line in cells], [right[n] for n in shown])
    left = columns - _together(least[:-1]) - 2
    if left >= _WORD or (
        left >= least[-1] and all(len(_pieces(line[last], left)) <= _DEEP for line in cells)
    ):
        return shown, None
    above = [line[:last] for line in cells]
    return _shown(names[:last], _least(above, right[:last], prose=False), columns, spare), last


def _shown(
    names: Sequence[str], least: Sequence[int], columns: int, spare: Sequence[str]
) -> list[int]:
    """Numbers of the columns that are shown: all where they fit."""
    shown = list(range(len(names)))
    for name in spare:
        if _together([least[n] for n in shown]) <= columns:
            break
        shown = [n for n in shown if names[n] != name]
    return shown


def _widest(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(*cells, strict=True)]


def _together(widths: Sequence[int]) -> int:
    """Columns of a line."""
    return sum(widths) + 2 * (len(widths) - 1)


def _least(
    cells: Sequence[Sequence[str]], right: Sequence[bool], *, prose: bool = True
) -> list[int]:
    """Columns that each column needs: the last one, if it is `prose`, and those that are wider than
    `_NAME` may be folded between words, but not their headings."""
    least = []
    for n, widest in enumerate(_widest(cells)):
        whole = right[n] or (widest <= _NAME and not (prose and n == len(right) - 1))
        words = max(_longest_word(cells, n), width(cells[0][n]))
        least.append(widest if whole else min(widest, words))
    return least


def _longest_word(cells: Sequence[Sequence[str]], column: int) -> int:
    longest = max(width(word) for line in cells for word in line[column].split(" "))
    return min(longest, _WHOLE)


def _narrowed(cells: Sequence[Sequence[str]], least: Sequence[int], columns: int) -> list[int]:
    """As wide as fits: the last column is narrowed first, then the widest, each as far as `least`
    if that is enough; otherwise words are kept whole as long as possible.
    """
    narrowed = _widest(cells)
    over = _together(narrowed) - columns
    spare = min(over, narrowed[-1] - 2 * _WORD)
    if spare > 0:
        narrowed[-1] -= spare
        over -= spare
    words = [
        min(_longest_word(cells, column), _WHOLE if column < len(least) - 1 else _WORD)
        for column in range(len(least))
    ]
    for floors in (
        least,
        [max(word, _LEAST) for word in words],
        [_LEAST] * len(least),
        [_LAST_RESORT] * len(least),
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
    pieces, size = [], max(size, 2)
    while width(text) > size:
        end = size
        if not text.isascii():
            end = next(end for end in range(1, len(text)) if width(text[: end + 1]) > size)
        blank = text.rfind(" ", 0, end + 1)
        end = blank if blank > 0 else end
        pieces.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*pieces, text]


def folded(text: str, columns: int | None) -> list[str]:
    """A sentence as lines that a terminal of that many columns shows whole; None: as one."""
    return [text] if columns is None else _pieces(text, max(columns, 1))


def named_values(rows: Sequence[tuple[str, str]], columns: int | None = None) -> list[str]:
    """Names, and beside each its value, folded to the terminal where there is one."""
    names = max(width(name) for name, _ in rows)
    left = None if columns is None else max(columns - names - 2, _LEAST)
    return [
        f"{name if first else '':<{names}}  {line}"
        for name, value in rows
        for first, line in ((not n, line) for n, line in enumerate(folded(value, left)))
    ]


def benchmark_figures(report: BenchReport, columns: int | None = None) -> list[str]:
    """The figures of a benchmark as lines, folded to a terminal of that many columns."""
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
    return named_values([(name, plain(text, 300)) for name, text in rows], columns)


def _percentiles(figures: Percentiles) -> str:
    return (
        f"mean {figures.mean:.1f}, median {figures.median:.1f}, "
        f"p95 {figures.p95:.1f}, p99 {figures.p99:.1f} ms"
    )
