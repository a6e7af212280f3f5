"""Server-sent events out of a body that comes in pieces, cut anywhere."""

from __future__ import annotations


class EventParser:
    """Turns pieces of a body into the `data` of its events, as the HTML standard says: lines end
    in LF, CRLF or CR, an empty line ends an event, several data lines are one text, comments and
    other fields are ignored. An event that the stream breaks off is dropped, as the standard
    wants it.
    """

    __slots__ = ("_after_cr", "_data", "_line", "_started", "resting")

    def __init__(self) -> None:
        self.resting = True
        """Whether the last piece ended with an event, and nothing is kept of it."""
        self._line = b""
        self._data: list[bytes] = []
        self._after_cr = False
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes, in order."""
        if self.resting:
            simple = _simple(piece)
            if simple is not None:
                self._started = True
                return simple
        found = self._feed_slowly(piece)
        self.resting = not (self._line or self._data or self._after_cr)
        return found

    def _feed_slowly(self, piece: bytes) -> list[bytes]:
        if self._after_cr and piece:
            # The LF of a CRLF whose CR ended the piece before.
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        text = self._line + piece
        if not text:
            return []
        self._after_cr = text.endswith(b"\r")
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._line = lines.pop()
        found: list[bytes] = []
        for line in lines:
            self._take(line, found)
        return found

    def _take(self, line: bytes, found: list[bytes]) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                found.append(b"\n".join(self._data))
                self._data = []
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def _simple(piece: bytes) -> list[bytes] | None:
    """The usual case, in few operations: whole events of one data line each. None for all else."""
    if not (piece.startswith(b"data: ") and piece.endswith(b"\n\n")) or b"\r" in piece:
        return None
    breaks = piece.count(b"\n")
    if breaks == 2:
        return [piece[6:-2]]
    events = piece[6:-2].split(b"\n\ndata: ")
    return events if len(events) * 2 == breaks else None
