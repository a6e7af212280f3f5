"""Text that came over the network, made safe to show."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and other strings
    r"|\x1b[ -/]*[0-~]"  # two-byte escapes
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI as one C1 character
)
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, bidi and zero-width marks, lone surrogates, line separators."""


def clean(text: object, limit: int = 300) -> str:
    """One line of printable text, at most `limit` characters, cut off with an ellipsis.

    Escape sequences, control characters and invisible marks are dropped, white space collapses.
    """
    raw = str(text)[: limit * 8]
    raw = _ESCAPES.sub("", raw)
    kept = (
        " " if c in "\t\n\r\v\f" else c
        for c in raw
        if c in "\t\n\r\v\f" or unicodedata.category(c) not in _DROPPED
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
