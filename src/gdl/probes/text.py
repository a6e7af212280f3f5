"""Text from a machine that is not ours, made safe to show."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS and their like, to their end
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# Control characters but tab and newline; characters that turn the direction of writing; line
# separators that break one line into two.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def printable(text: str) -> str:
    """A piece of a stream without control characters and lone surrogates (they cannot be
    encoded). Tabs and newlines stay. An escape sequence loses its escape character."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", _CONTROLS.sub("", text))


def clean(text: str, limit: int) -> str:
    """A whole text without escape sequences and control characters, `limit` characters at most."""
    # Cut first, so that a huge text costs nothing; escapes only make it shorter.
    text = printable(_ESCAPES.sub("", text[: limit * 4]))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int = 200) -> str:
    """As `clean`, with every run of white space made one blank."""
    return clean(" ".join(_ESCAPES.sub("", text[: limit * 4]).split()), limit)
