"""Text from elsewhere is hostile: escape sequences, tricks with direction, endless lines.

What leaves this module is of bounded length where a limit is given, and free of anything that a
terminal obeys or that cannot be seen. Everything remote that is shown, told or kept goes through
here.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(
    # CSI, then the string commands (OSC, DCS, SOS, PM, APC), then the short ones. A string ends
    # at its terminator or with the line: an unfinished one must not swallow the rest of a log.
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co"})
"""Unicode categories: controls, format marks (direction, zero width), lone surrogates, private."""
_UNASSIGNED = "\N{REPLACEMENT CHARACTER}"
"""For what this Python's Unicode does not have: nobody can tell how a terminal shows it."""
_LINE_ENDS = frozenset("\v\f\x85\u2028\u2029")
_GAPS = re.compile(r"[\t\n\r]+")
_AHEAD = 4
"""Characters looked at for one that is kept: escapes make a text only shorter."""


class _Seen(dict[int, int | str | None]):
    """For str.translate: what becomes of a character, worked out when it is first met."""

    def __missing__(self, code: int) -> int | str | None:
        character = chr(code)
        becomes: int | str | None = code
        category = unicodedata.category(character)
        if character in _LINE_ENDS:
            becomes = "\n"
        elif character not in "\t\n\r" and category in _INVISIBLE:
            becomes = None
        elif category == "Cn":
            becomes = _UNASSIGNED
        self[code] = becomes
        return becomes


_SEEN = _Seen()


def visible(text: str) -> str:
    """Any text without escape sequences and invisible characters; tabs and line ends stay."""
    if text.isprintable():
        return text
    return _ESCAPES.sub("", text).translate(_SEEN)


def bounded(text: str, limit: int) -> str:
    """At most `limit` characters, the last one an ellipsis when something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def block(text: str, limit: int) -> str:
    """Several lines, at most `limit` characters in all."""
    return bounded(visible(text[: limit * _AHEAD]), limit)


def flat(text: str, limit: int) -> str:
    """One line; its blanks stay as they are, line ends and tabs become one."""
    cut = text[: limit * _AHEAD]
    return bounded(cut if cut.isprintable() else _GAPS.sub(" ", visible(cut)), limit)


def one_line(text: object, limit: int = 200) -> str:
    """One line of words: every run of white space is one blank, none at the ends."""
    return bounded(" ".join(visible(str(text)[: limit * _AHEAD]).split()), limit)
