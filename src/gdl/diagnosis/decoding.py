"""The bytes of a log as UTF-8 lines: unpacked, decoded, and without what only a terminal obeys."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
MOST_UNPACKED = 2 << 30
"""Bytes that a packed log may unpack to; what follows is not read."""
_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"
)
_UNWANTED = bytes(code for code in range(32) if code not in b"\t\n\r") + b"\x7f"


class Decoder:
    """Takes a log piece by piece, as it is in its file; gives UTF-8 whose lines end in newlines.

    A gzip file may have several members; one that is damaged or cut off is read as far as it goes.
    UTF-16 is known by its byte order mark, or by the zero bytes of its first piece.
    """

    def __init__(self) -> None:
        self._begun = False
        self._head = b""
        self._unpacker: zlib._Decompress | None = None
        self._packed = False
        self._unpacked = 0
        self._codec: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            # Three bytes tell gzip and UTF-16 from text; a pipe may give them one by one.
            self._head += data
            if len(self._head) < 4:
                return
            data, self._head, self._begun = self._head, b"", True
            self._packed = data.startswith(_GZIP)
        yield from self._pieces(data)

    def end(self) -> Iterator[bytes]:
        if not self._begun and self._head:
            self._begun = True
            yield from self._pieces(self._head)
        if self._codec is not None:
            yield self._codec.decode(b"", final=True).encode("utf-8", "replace")

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for piece in self._plain(data) if self._packed else (data,):
            yield self._utf8(piece)

    def _plain(self, data: bytes) -> Iterator[bytes]:
        while data and self._unpacked < MOST_UNPACKED:
            if self._unpacker is None:
                if not data.startswith(_GZIP[: len(data)]):
                    return
                self._unpacker = zlib.decompressobj(31)
            try:
                piece = self._unpacker.decompress(data, _PIECE)
            except zlib.error:
                self._unpacked = MOST_UNPACKED
                return
            self._unpacked += len(piece)
            if piece:
                yield piece
            data = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                data, self._unpacker = self._unpacker.unused_data, None
            elif not piece and not data:
                return

    def _utf8(self, data: bytes) -> bytes:
        if self._codec is None:
            name = _utf16(data)
            self._codec = codecs.getincrementaldecoder(name)("replace") if name else _AS_IT_IS
        if self._codec is _AS_IT_IS:
            return data
        return self._codec.decode(data).encode("utf-8", "replace")


_AS_IT_IS = codecs.getincrementaldecoder("utf-8")("replace")


def _utf16(head: bytes) -> str:
    """The codec of a log that is UTF-16, by its first bytes; "" for any other."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        even, odd = head[2:400:2].count(0), head[3:400:2].count(0)
        most = len(head[2:400]) // 4
        # Two bytes that happen to be a mark are followed by text of another kind.
        return "utf-16" if max(even, odd) >= most else ""
    sample = head[:400]
    if len(sample) >= 16:
        if sample[1::2].count(0) > len(sample) * 0.4:
            return "utf-16-le"
        if sample[::2].count(0) > len(sample) * 0.4:
            return "utf-16-be"
    return ""


def plain(data: bytes) -> bytes:
    """Whole lines without escapes and control characters."""
    if len(data) != len(data.translate(None, _UNWANTED)):
        data = _ESCAPES.sub(b"", data).translate(None, _UNWANTED)
    return data
