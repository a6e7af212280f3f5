"""What a command says: without the noise before it, and no more than is wanted of it."""

from __future__ import annotations

import re

from gdl.domain.text import one_line

OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes kept of each of a command's two streams; what comes after is dropped."""

NOISE_LIMIT = 64 * 1024


class Unmark:
    """Drops everything up to a mark: what login scripts print before our command starts.

    The mark is RS, a word, a space, the pid of the command's shell, RS.
    """

    def __init__(self, word: str) -> None:
        self._mark = re.compile(b"\x1e%s ([0-9]{1,18})\x1e" % word.encode())
        self._held = b""
        self.pid = 0

    def feed(self, data: bytes) -> bytes:
        if self.pid:
            return data
        self._held += data
        found = self._mark.search(self._held)
        if found is None:
            self._held = self._held[-NOISE_LIMIT:]
            return b""
        rest = self._held[found.end() :]
        self._held, self.pid = b"", int(found[1])
        return rest

    @property
    def noise(self) -> str:
        """What came instead of the mark, fit for an error message."""
        return one_line(self._held.decode("utf-8", "replace"), 300)


class Bounded:
    """The first OUTPUT_LIMIT bytes of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        space = OUTPUT_LIMIT - len(self._data)
        if space > 0:
            self._data += data[:space]

    def value(self) -> bytes:
        return bytes(self._data)
