"""Bytes of a growing log to lines: half characters, endless lines, bars that redraw themselves."""

from __future__ import annotations

import codecs
import re

from gdl.domain.text import bounded, visible

MAX_LINE = 4096
"""Characters of one line that are kept; an ellipsis takes the place of the last one when cut."""

_RAW_LIMIT = 4 * MAX_LINE
"""Characters of an unfinished or overlong line that are looked at, before cleaning."""


def _clean_line(raw: str) -> str:
    """One line as a terminal would leave it: what follows the last carriage return, made safe."""
    if len(raw) <= MAX_LINE and raw.isprintable():
        return raw
    raw = raw.rstrip("\r")
    raw = raw[raw.rfind("\r") + 1 :]
    text = visible(raw[:_RAW_LIMIT]).expandtabs(8).replace("\n", " ")
    return bounded(text + "…" if len(raw) > _RAW_LIMIT else text, MAX_LINE)


class LineSplitter:
    """Bytes as they arrive in, clean lines out.

    UTF-8 with errors replaced; characters and escape sequences may be split over batches. Lines
    end with LF or CRLF; of a line redrawn with carriage returns only the last state is kept.
    Holds about 64 kB at most, however long a line grows.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, without their line ends."""
        text = self._decoder.decode(data)
        if self._skipping:
            text = self._skip(text)
        parts = (self._rest + text).split("\n")
        self._rest = parts.pop()
        if len(self._rest) > _RAW_LIMIT:
            self._compact()
        return [_clean_line(part) for part in parts]

    def pending(self) -> str:
        """The unfinished line as it looks now, such as the last state of a progress bar."""
        return _clean_line(self._rest)

    def redrawn(self) -> bool:
        """Whether the unfinished line has been drawn over with a carriage return."""
        return "\r" in self._rest

    def flush(self) -> list[str]:
        """The unfinished last line, if there is one; afterwards nothing is left."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        self._skipping = False
        self._decoder.reset()
        return [_clean_line(rest)] if rest else []

    def _skip(self, text: str) -> str:
        """The part of `text` after the overlong line or redraw that is being skipped."""
        found = re.search(r"[\r\n]", text)
        if found is None:
            return ""
        self._skipping = False
        return text[found.start() :]

    def _compact(self) -> None:
        """Keep the unfinished line small: its last redraw, or its beginning."""
        ends = self._rest[len(self._rest.rstrip("\r")) :][:1]
        body = self._rest.rstrip("\r")
        redrawn = "\r" in body
        body = body[body.rfind("\r") + 1 :]
        if len(body) > _RAW_LIMIT:
            body = _clean_line(body)
            # A carriage return that still comes starts a new state of this line.
            self._skipping = not ends
        self._rest = ("\r" if redrawn else "") + body + ends
