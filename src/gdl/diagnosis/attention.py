"""Which lines of a log of any length are looked at closely: bounded in memory, and quick.

Most lines of a long log are like many before it. A line's shape is the line without its digits;
a shape that is known to hold nothing of interest is passed over, and so is one that was looked at
often enough. What is around an interesting line, and the end of the log, is looked at, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdl.diagnosis.decoding import plain
from gdl.diagnosis.prefixes import LINE

_BLOCK = 256 * 1024
_BEFORE, _AFTER = 12, 30
_OFTEN = 12
"""How often one shape is looked at with its surroundings."""
_SHAPES = 100_000
_HEAD_LINES, _TAIL_LINES = 6_000, 6_000
_HEAD_BYTES, _TAIL_BYTES = 4 << 20, 4 << 20
_FIRST_LINES, _LAST_LINES = 100, 400
_DIGITS = b"0123456789"
_LETTERS = (
    bytes(code if chr(code).isalpha() or code == ord("_") else ord(" ") for code in range(128))
    + b" " * 128
)
_MORE = 2 * LINE
_TRACES = (
    "Traceback", 'File "', "rror", "ERR", "xception", "xit", "ailed", "ailure", "FAIL", "annot",
    "fatal", "Fatal", "FATAL", "enied", "refused", "imed out", "imeout", "illed", "bort",
    "dumped", "egmentation", "ignal", "No space", "not found", "No such", "nable to",
    "NCCL WARN", "Xid", "×", "╰", "cause", "hint", "Warning", "not supported", "nsupported",
    "nvalid", "issing", "unexpected", "too old", "OutOf", "ut of memory", "nterrupt", "panic",
    "raise ", "Bus error", "llegal", "lost", "reset by", "exited",
    "terminate called", "what()", "panicked",
)  # fmt: skip


class Attention:
    """Takes UTF-8 in pieces. lines: (number, line) of those to look at closely, in order."""

    def __init__(self, texts: Iterable[tuple[str, tuple[str, ...]]], marks: Iterable[str]) -> None:
        wanted = {(text, words) for text, words in texts}
        wanted |= {(text, tuple(text.split())) for text in _TRACES}
        self._asked = [_shape(text, words) for text, words in sorted(wanted)]
        self._marks = [_shape(text, tuple(text.split())) for text in marks]
        self._rest = b""
        self._return = b""
        self._skipping = False
        self._number = 0
        self._dull: set[bytes] = set()
        self._times: dict[bytes, int] = {}
        self._head: dict[int, bytes] = {}
        self._tail: dict[int, bytes] = {}
        self._before: list[bytes] = []
        self._until = 0
        self._size = self._tail_size = 0

    @property
    def count(self) -> int:
        """Lines so far."""
        return self._number

    def feed(self, data: bytes) -> None:
        if b"\r" in data or self._return:
            # A progress bar is redrawn with carriage returns: each of its states is a line.
            data = self._return + data
            self._return = b"\r" if data.endswith(b"\r") else b""
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        for at in range(0, len(data), _BLOCK):
            self._piece(self._rest + data[at : at + _BLOCK])

    def end(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._block(rest)

    def lines(self) -> Iterator[tuple[int, str]]:
        """In order; the last ones of the log are always among them."""
        kept = {**self._head, **self._tail}
        first = self._number - len(self._before) + 1
        for place, line in enumerate(self._before):
            kept[first + place] = line
        for number in sorted(kept):
            yield number, kept[number][:_MORE].decode("utf-8", "replace")

    def _piece(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if self._skipping:
            if not newline:
                return
            # The rest of a line that was too long.
            _, newline, whole = whole.partition(b"\n")
            self._skipping = False
            self._rest = rest
            if not newline:
                return
        if len(rest) > _MORE:
            # Nobody looks at more of such a line.
            whole, newline, rest = whole + newline + rest[:_MORE], b"\n", b""
            self._skipping = True
        self._rest = rest
        if newline:
            self._block(whole)

    def _block(self, block: bytes) -> None:
        block = plain(block)
        lines = block.split(b"\n")
        shapes = block.translate(None, _DIGITS).split(b"\n")
        for at in range(min(_FIRST_LINES - self._number, len(lines))):
            self._keep(self._number + at + 1, lines[at])
        dull = self._dull
        fresh = [at for at, shape in enumerate(shapes) if shape not in dull]
        if fresh:
            self._look(lines, shapes, fresh)
        else:
            self._around(lines, ())
        self._number += len(lines)
        last = [line[:_MORE] for line in lines[-_LAST_LINES:]]
        self._before = (self._before + last)[-_LAST_LINES:]

    def _look(self, lines: list[bytes], shapes: list[bytes], fresh: list[int]) -> None:
        unknown = {shapes[at] for at in fresh}
        new = [shape for shape in unknown if shape not in self._times]
        interesting, marks = _telling(new, self._asked, self._marks)
        if len(self._dull) > _SHAPES:
            self._dull.clear()
        if len(self._times) > _SHAPES:
            self._times.clear()
        self._dull.update(shape for shape in new if shape not in interesting and shape not in marks)
        opened = []
        for at in fresh:
            shape = shapes[at]
            if shape in marks:
                self._keep(self._number + at + 1, lines[at])
            elif shape in interesting or shape in self._times:
                times = self._times.get(shape, 0) + 1
                self._times[shape] = times
                if times <= _OFTEN:
                    opened.append(at)
                else:
                    self._dull.add(shape)
        self._around(lines, opened)

    def _around(self, lines: list[bytes], opened: Iterable[int]) -> None:
        """Keep what is around lines of interest, and what is left to keep after earlier ones."""
        kept = 0
        if self._until > self._number:
            kept = min(self._until - self._number, len(lines))
            for at in range(kept):
                self._keep(self._number + at + 1, lines[at])
        for at in opened:
            first = at - _BEFORE
            if first < 0:
                for place, line in enumerate(self._before[first:] if self._before else ()):
                    number = self._number - len(self._before[first:]) + 1 + place
                    self._keep(number, line)
            last = min(at + _AFTER + 1, len(lines))
            for place in range(max(first, kept, 0), last):
                self._keep(self._number + place + 1, lines[place])
            kept = max(kept, last)
            self._until = max(self._until, self._number + at + _AFTER + 1)

    def _keep(self, number: int, line: bytes) -> None:
        if number in self._head or number in self._tail:
            return
        line = line[:_MORE]
        if len(self._head) < _HEAD_LINES and self._size < _HEAD_BYTES:
            self._head[number] = line
            self._size += len(line)
            return
        self._tail[number] = line
        self._tail_size += len(line)
        while len(self._tail) > _TAIL_LINES or self._tail_size > _TAIL_BYTES:
            self._tail_size -= len(self._tail.pop(next(iter(self._tail))))


def _shape(text: str, words: tuple[str, ...]) -> tuple[bytes, tuple[bytes, ...]]:
    asked = tuple(word for each in words for word in each.encode().translate(_LETTERS).split())
    return text.encode().translate(None, _DIGITS), asked


def _telling(
    shapes: list[bytes],
    asked: list[tuple[bytes, tuple[bytes, ...]]],
    marked: list[tuple[bytes, tuple[bytes, ...]]],
) -> tuple[set[bytes], set[bytes]]:
    """(those that hold a text of interest, those that hold only a mark)."""
    block = b"\n".join(shapes)
    known = b" ".join(set(block.translate(_LETTERS).split()))
    interesting = set(_with(block, asked, known))
    return interesting, set(_with(block, marked, known)) - interesting


def _with(
    block: bytes, texts: list[tuple[bytes, tuple[bytes, ...]]], known: bytes
) -> Iterator[bytes]:
    for text, words in texts:
        if not all(word in known for word in words):
            continue
        at = block.find(text)
        while at >= 0:
            begin = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            yield block[begin:end] if end >= 0 else block[begin:]
            at = block.find(text, end) if end >= 0 else -1
