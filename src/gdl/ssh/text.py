"""Remote text is hostile: escape sequences, endless lines, half characters, tricks with direction.

What leaves this module is printable, of bounded length, and free of anything a terminal obeys.
"""

from __future__ import annotations

import codecs
import re

MAX_LINE = 4096
"""Characters of one line that are kept; an ellipsis takes the place of the last one when cut."""

_RAW_LIMIT = 4 * MAX_LINE
"""Characters of an unfinished or overlong line that are looked at, before cleaning."""

_ESCAPES = re.compile(
    # CSI, then the string commands (OSC, DCS, SOS, PM, APC), then the short ones. A string ends
    # at its terminator or with the line: an unfinished one must not swallow the rest of a log.
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
_UNSAFE = re.compile(
    # Controls but tab, soft hyphen, zero-width and direction marks, line and paragraph
    # separators, invisible operators, annotations, tag characters, lone surrogates.
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _clean_line(raw: str, limit: int = MAX_LINE) -> str:
    """One line as a terminal would leave it: what follows the last carriage return, made safe."""
    if len(raw) <= limit and raw.isprintable():
        return raw
    raw = raw.rstrip("\r")
    raw = raw[raw.rfind("\r") + 1 :]
    cut = len(raw) > _RAW_LIMIT
    text = _ESCAPES.sub("", raw[:_RAW_LIMIT])
    if not text.isprintable():
        text = _UNSAFE.sub("", text).expandtabs(8)
    return _bounded(text + "…" if cut else text, limit)


def clean_text(text: str, limit: int = MAX_LINE) -> str:
    """A short remote string on one line: newlines become spaces, the rest as for a log line.

    The result has at most `limit` characters.
    """
    flat = re.sub(r"[\r\n\u2028\u2029\t]+", " ", _ESCAPES.sub("", text[:_RAW_LIMIT]))
    return _bounded(_UNSAFE.sub("", flat).strip(), limit)


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
        """The part of `text` after the overlong line or redraw that is being left out."""
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
