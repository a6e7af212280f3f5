"""A shell on the machine that waits for its command.

To open a session, to start a shell in it and to send what that reads takes three round trips, one
after the other. A shell that was started beforehand is handed all of it at once: one.
"""

from __future__ import annotations

import secrets
import shlex

_FIRST, _LAST, _BREAK = "gdl_command", "gdl_line", "gdl_break"
_ESCAPED = str.maketrans({"\\": "\\0134", "\n": "\\n", "!": "\\0041", "'": "\\0047"})
"""As `printf %b` reads it back. Between single quotes csh takes no line break and expands `!`; fish
makes one of two backslashes."""


def program(word: str) -> str:
    """What a login shell of any kind is told. The shell that comes of it reads its command up to a
    line that is `word`, says its mark on both streams and becomes the command; what follows is the
    command's input. It ends with the connection."""
    # No line break and no `!` in it, which csh would take amiss.
    reading = (
        f"{_FIRST}=; {_BREAK}=$(printf '\\n.'); {_BREAK}=${{{_BREAK}%.}}; "
        f"while LC_ALL=C IFS= read -r {_LAST}; do "
        f'if [ "${_LAST}" = {word} ]; then {_marks(word)}exec /bin/sh -c "${_FIRST}"; fi; '
        f"{_FIRST}=${_FIRST}${_LAST}${_BREAK}; done"
    )
    return f"exec /bin/sh -c {shlex.quote(reading)}"


def at_once(word: str, command: str) -> str:
    """The same for a shell that has its command from the start."""
    starter = f'{_marks(word)}exec /bin/sh -c "$(printf %b "$1")"'
    return f"exec /bin/sh -c {shlex.quote(starter)} sh '{command.translate(_ESCAPED)}'"


def _marks(word: str) -> str:
    """Says the mark, as output.Unmark reads it, on both streams. Its control characters are written
    out here, so that a shell that echoes its commands cannot fake it."""
    sign = f"printf '\\036{word} %s\\036' $$"
    return f"{sign}; {sign} >&2; "


def new_word() -> str:
    """One that no command has a line of."""
    return f"gdl-{secrets.token_hex(16)}"
