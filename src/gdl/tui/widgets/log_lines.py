"""The lines of a log on rows of a screen, and what is found in them. No widget here."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from rich.cells import cell_len, chop_cells

_ERROR = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL)\b"
    r"|\bTraceback \(most recent call last\)"
    r"|\b[A-Za-z_.]*(?:Error|Exception)\b"
    r"|\b(?:error|fatal|panic):",
)
"""What makes a line an error line: Python's, engines', pip's and uv's, the kernel's and a shell's
words. Counts ("0 errors") are none."""

_WARNING = re.compile(r"\bWARN(?:ING)?\b|\b[A-Za-z_.]*Warning\b|\bwarn(?:ing)?:")


def levels(line: str) -> list[tuple[int, int, str]]:
    """Where in a line stand the words that make it one of an error or of a warning: (start, end,
    "error" or "warning")."""
    found = [(*each.span(), "error") for each in _ERROR.finditer(line)]
    return found + [(*each.span(), "warning") for each in _WARNING.finditer(line)]


class LogLines:
    """Lines and the rows each takes at some width. A line's number counts from the first that
    ever came and stays its own when older ones go; rows are counted from the oldest kept line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._starts: list[int] = []  # of each line, in rows that never are renumbered
        self._end = 0
        self.first = 0
        self.width = 0
        self.widest = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> str:
        return self._lines[number - self.first]

    @property
    def total(self) -> int:
        """How many lines ever came; the number of the next."""
        return self.first + len(self._lines)

    @property
    def rows(self) -> int:
        return self._end - self._top

    @property
    def _top(self) -> int:
        return self._starts[0] if self._starts else self._end

    def clear(self) -> None:
        self._lines, self._starts = [], []
        self._end = self.first = self.widest = 0

    def add(self, lines: Iterable[str], first: int) -> int:
        """More lines at the end; those before number `first` go. The rows that went.

        `first` may lie beyond all that is kept: then lines between were never seen here.
        """
        lines = list(lines)
        gap = first - self.total
        gone = self.rows if gap >= 0 else self._drop(max(first - self.first, 0))
        if gap >= 0:
            self._lines, self._starts, self.first = [], [], first
        self._lines.extend(lines)
        self._place(lines)
        return gone

    def _drop(self, count: int) -> int:
        top = self._top
        del self._lines[:count]
        del self._starts[:count]
        self.first += count
        return self._top - top

    def lay_out(self, width: int) -> None:
        """Count the rows anew. width: cells of a row; 0 gives each line one row."""
        self.width = width
        self._starts, self._end, self.widest = [], 0, 0
        self._place(self._lines)

    def _place(self, lines: list[str]) -> None:
        width, end, widest = self.width, self._end, self.widest
        put = self._starts.append
        for line in lines:
            put(end)
            length = len(line) if line.isascii() else cell_len(line)
            if length > widest:
                widest = length
            if width == 0 or length <= width:
                end += 1
            else:
                end += -(-length // width) if line.isascii() else len(chop(line, width))
        self._end, self.widest = end, widest

    def at(self, row: int) -> tuple[int, int]:
        """(number of the line on this row, how many of its rows lie above)."""
        wanted = row + self._top
        index = bisect_right(self._starts, wanted) - 1
        return self.first + index, wanted - self._starts[index]

    def row_of(self, number: int) -> int:
        """The first row of a line that is kept."""
        return self._starts[number - self.first] - self._top

    def text(self) -> str:
        return "\n".join(self._lines)

    def error_after(self, number: int) -> int | None:
        """The next line that tells of an error, from `number` on, then from the top."""
        start = max(number - self.first, 0)
        order = (range(start, len(self._lines)), range(min(start, len(self._lines))))
        lines = self._lines
        found = (index for part in order for index in part if _ERROR.search(lines[index]))
        index = next(found, None)
        return None if index is None else self.first + index


class Finder:
    """The lines that contain some words. Capitals count only when the words have some."""

    def __init__(self, words: str) -> None:
        self.words = words
        self._exact = words != words.lower()
        self._pattern = re.compile(re.escape(words), 0 if self._exact else re.IGNORECASE)
        self.found: list[int] = []
        self._seen = 0

    def look(self, lines: LogLines) -> None:
        """Take in what came since the last look, and forget lines that are no longer kept."""
        if gone := bisect_left(self.found, lines.first):
            del self.found[:gone]
        words, exact = self.words, self._exact
        for number in range(max(self._seen, lines.first), lines.total):
            line = lines[number]
            if words in (line if exact else line.lower()):
                self.found.append(number)
        self._seen = lines.total

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the words stand in a line."""
        return [found.span() for found in self._pattern.finditer(text)]

    def position(self, number: int) -> int:
        """The 1-based place of a found line among all found ones; 0 when it is none."""
        index = bisect_left(self.found, number)
        return index + 1 if index < len(self.found) and self.found[index] == number else 0

    def next(self, number: int) -> int | None:
        """The first found line at or after `number`, else the first of all."""
        if not self.found:
            return None
        index = bisect_left(self.found, number)
        return self.found[index % len(self.found)]

    def previous(self, number: int) -> int | None:
        """The last found line before `number`, else the last of all."""
        return self.found[bisect_left(self.found, number) - 1] if self.found else None


def chop(text: str, width: int) -> list[str]:
    """Rows of at most `width` cells; an empty line is one row."""
    if width <= 0 or not text:
        return [text]
    if text.isascii():
        return [text[i : i + width] for i in range(0, len(text), width)]
    return chop_cells(text, width) or [text]
