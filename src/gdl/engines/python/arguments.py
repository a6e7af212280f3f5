"""Values of the server's arguments that the user gave."""

from __future__ import annotations

from collections.abc import Mapping

MOST_GPUS = 64
MOST_TOKENS = 1 << 24


def number(given: Mapping[str, str], flag: str, default: int, most: int) -> int:
    """The value of a flag, `most` at the most; default where it is no usable number."""
    value = given.get(flag, "")
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        return default
    return min(int(value), most) or default
