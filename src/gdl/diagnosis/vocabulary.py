"""Which of many texts stand in a block of lines, without looking for each of them in all of it.

A text is looked for only where its longest word occurs, be it as a part of a longer one. Which
words hold such parts is worked out once for each word that a log has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

_LETTERS = (
    bytes(code if chr(code).isalpha() or code == ord("_") else ord(" ") for code in range(128))
    + b" " * 128
)
_DIGITS = b"0123456789"
_MOST_WORDS = 300_000


def shape(text: bytes) -> bytes:
    """A text without its digits: what lines of a log that differ in numbers alone share."""
    return text.translate(None, _DIGITS)


class Vocabulary:
    def __init__(self, texts: Iterable[bytes]) -> None:
        self._by_part: dict[bytes, list[bytes]] = defaultdict(list)
        self._always: list[bytes] = []
        for text in sorted(set(texts)):
            words = text.translate(_LETTERS).split()
            if words:
                self._by_part[max(words, key=len)].append(text)
            else:
                self._always.append(text)
        self._known: set[bytes] = set()
        self._telling: dict[bytes, list[bytes]] = {}

    def texts_in(self, block: bytes) -> Iterator[bytes]:
        """The texts that a block of shapes may hold: their longest word is there."""
        words = set(block.translate(_LETTERS).split())
        new = words - self._known
        if new:
            self._learn(new)
        found = {part for word in words & self._telling.keys() for part in self._telling[word]}
        for part in found:
            yield from self._by_part[part]
        yield from self._always

    def _learn(self, new: set[bytes]) -> None:
        if len(self._known) > _MOST_WORDS:
            self._known.clear()
            self._telling.clear()
        self._known |= new
        joined = b" " + b" ".join(new) + b" "
        for part in self._by_part:
            at = joined.find(part)
            while at >= 0:
                end = joined.find(b" ", at)
                word = joined[joined.rfind(b" ", 0, at) + 1 : end]
                self._telling.setdefault(word, []).append(part)
                at = joined.find(part, end)


def lines_with(block: bytes, text: bytes, most: int) -> Iterator[bytes]:
    """The first lines of a block that hold a text, and the last one."""
    last = block.rfind(text)
    if last >= 0:
        end = block.find(b"\n", last)
        begin = block.rfind(b"\n", 0, last) + 1
        yield block[begin:end] if end >= 0 else block[begin:]
    at = block.find(text)
    while 0 <= at < last and most > 0:
        most -= 1
        begin = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        yield block[begin:end] if end >= 0 else block[begin:]
        at = block.find(text, end) if end >= 0 else -1
