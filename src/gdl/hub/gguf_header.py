"""The header of a GGUF file: what model it is, of which shape.

The format is llama.cpp's (`docs/gguf.md` of ggml), versions 2 and 3, little-endian: the magic,
a version, the number of tensors and of key-value pairs, the pairs, then the tensors' names, sizes
and types. Everything in it may be a lie: counts and lengths are bounded before anything is made.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from gdl.domain.errors import GdlError
from gdl.domain.lazy_dataclass import dataclass

_MAGIC = b"GGUF"
_BEGINNING = 24
"""Bytes of the magic, the version and the two counts."""
_MOST_PAIRS = 10_000
_MOST_TENSORS = 100_000
_LONGEST_KEY = 1 << 10
_LONGEST_TEXT = 1 << 20
_MOST_ITEMS = 1 << 22
_KEPT_ITEMS = 1024
"""Lists that are longer (the vocabulary) are passed over."""
_DEEPEST = 2
_MOST_DIMENSIONS = 8

_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_NUMBERS[12] = "d"

_TYPES: dict[int, tuple[int, int]] = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}
"""Tensor types, as `ggml_type` numbers them: (numbers in a block, bytes of a block)."""


class HeaderError(GdlError):
    """This is no header that can be read."""

    kind = "gguf_header"


class NeedMore(Exception):
    """The header goes on: so many bytes from the beginning of the file are needed at least."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, slots=True)
class Header:
    """metadata: the pairs; of a long list its length alone ("KEY.length"). tensor_bytes,
    parameters: of all tensors, both 0 where the tensors were not reached. whole: the header was
    read to its end."""

    version: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tensor_bytes: int = 0
    parameters: int = 0
    whole: bool = False


class _Reader:
    """Walks through the bytes. Raises NeedMore past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.listed = 0
        """Items of the list that was begun last."""

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise NeedMore(end)
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self, limit: int) -> str:
        length = self.number("Q")
        if length > limit:
            raise _wrong(f"a text of {length} bytes")
        return self.take(length).decode("utf-8", "replace")


def read(data: bytes, *, enough: bool = False) -> Header:
    """The header at the beginning of a file. enough: stop at the first pair that cannot be read
    with these bytes, and tell what came before.

    Raises NeedMore when the header is longer than the data, HeaderError for what is none.
    """
    reader = _Reader(data)
    if enough and len(data) < _BEGINNING:
        return Header(0)
    if reader.take(4) != _MAGIC:
        raise _wrong("another kind of file")
    version = reader.number("I")
    if version not in (2, 3):
        shown = version if version < 1 << 16 else "in another byte order"
        raise _wrong(f"version {shown} of the format")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    if pairs > _MOST_PAIRS or tensors > _MOST_TENSORS:
        raise _wrong(f"{pairs} settings and {tensors} tensors")
    metadata: dict[str, Any] = {}
    key = ""
    try:
        for _ in range(pairs):
            key, reader.listed = reader.text(_LONGEST_KEY), 0
            value = _value(reader, reader.number("I"))
            if value is not None:
                metadata[key] = value
            elif reader.listed:
                metadata[f"{key}.length"] = reader.listed
        size, parameters = _tensors(reader, tensors)
    except NeedMore:
        if not enough:
            raise
        if reader.listed > _KEPT_ITEMS:
            metadata[f"{key}.length"] = reader.listed
        return Header(version, metadata)
    return Header(version, metadata, size, parameters, whole=True)


def _value(reader: _Reader, kind: int, depth: int = 0) -> Any:
    """A value; None for a list that is too long to keep."""
    if kind == _STRING:
        return reader.text(_LONGEST_TEXT)
    if kind == _ARRAY:
        return _items(reader, depth)
    code = _NUMBERS.get(kind)
    if code is None:
        raise _wrong(f"a value of type {kind}")
    return reader.number(code)


def _items(reader: _Reader, depth: int) -> list[Any] | None:
    kind, count = reader.number("I"), reader.number("Q")
    if count > _MOST_ITEMS or depth >= _DEEPEST:
        raise _wrong(f"a list of {count} values")
    if not depth:
        reader.listed = count
    code = _NUMBERS.get(kind)
    if code is not None:
        raw = reader.take(struct.calcsize("<" + code) * count)
        return list(struct.unpack(f"<{count}{code}", raw)) if count <= _KEPT_ITEMS else None
    kept: list[Any] = []
    for index in range(count):
        item = _value(reader, kind, depth + 1)
        if index < _KEPT_ITEMS:
            kept.append(item)
    return kept if count <= _KEPT_ITEMS else None


def _tensors(reader: _Reader, count: int) -> tuple[int, int]:
    """Bytes and numbers of all tensors; no bytes where the type of one is not known."""
    size = parameters = 0
    known = True
    for _ in range(count):
        reader.text(_LONGEST_KEY)
        dimensions = reader.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise _wrong(f"a tensor of {dimensions} dimensions")
        numbers = math.prod(reader.number("Q") for _ in range(dimensions))
        kind = reader.number("I")
        block, bytes_each = _TYPES.get(kind, (1, 0))
        known = known and kind in _TYPES
        reader.number("Q")
        size += numbers // block * bytes_each
        parameters += numbers
    if size >= 1 << 50 or parameters >= 1 << 50:
        raise _wrong("tensors without measure")
    return size if known else 0, parameters


def _wrong(what: str) -> HeaderError:
    return HeaderError(
        f"the GGUF file's header cannot be read: {what}",
        "choose another file of the repository, or the original model",
    )
