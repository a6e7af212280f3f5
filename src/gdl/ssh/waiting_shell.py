"""A shell on the machine that waits for its command.

To open a session, to start a shell in it and to send what that reads takes three round trips, one
after the other. A shell that was started beforehand is handed all of it at once: one.
"""

from __future__ import annotations

import secrets
import shlex

_FIRST, _LAST = "gdl_command", "gdl_line"


def program(word: str) -> str:
    """What a login shell of any kind is told. The shell that comes of it reads its command up to a
    line that is `word`, says its mark on both streams and becomes the command; what follows is the
    command's input. It ends with the connection."""
    sign = f"printf '\\036{word} %s\\036' $$"
    reading = (
        f"{_FIRST}=; while LC_ALL=C IFS= read -r {_LAST}; do "
        f'if [ "${_LAST}" = {word} ]; then {sign}; {sign} >&2; exec /bin/sh -c "${_FIRST}"; fi; '
        f"{_FIRST}=${_FIRST}${_LAST}'\n'; done"
    )
    return f"exec /bin/sh -c {shlex.quote(reading)}"


def new_word() -> str:
    """One that no command has a line of."""
    return f"gdl-{secrets.token_hex(16)}"
