"""What an earlier start of the same command was found to need on a machine that stays: its remedies
are still in force there, and are to be known wherever this server is told of. Pure."""

from __future__ import annotations

import re
import shlex

from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.text import one_line

_MARK = "[gdl] remembered "
_MOST = 40
"""Lines of each kind."""
_FLAG = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_-]{0,80}=?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}")


def telling(where: str) -> str:
    """A script that says it first thing in the server's log: to ask for it would be one round trip
    more. where: as `ServerCommand.remembered`."""
    return (
        f"for gdl_kind in args env; do [ ! -f {where}.$gdl_kind ] ||"
        f" sed -n '1,{_MOST}s/^/{_MARK}/p' {where}.$gdl_kind; done\n"
    )


def is_told(line: str) -> bool:
    """Whether a line of the log is one of these."""
    return line.startswith(_MARK)


def read(line: str) -> Remedy | None:
    """From a line as `ServerCommand.remembering` writes them, with the mark; None for what is
    neither a flag nor a variable."""
    said = one_line(line.removeprefix(_MARK), 500)
    name, _, value = said.partition(" ")
    if _FLAG.fullmatch(name):
        return Remedy(RemedyKind.FLAG, name, value)
    try:
        words = shlex.split(said)
    except ValueError:
        return None
    name, equals, value = words[1].partition("=") if len(words) == 2 else ("", "", "")
    if equals and words[0] == "export" and _NAME.fullmatch(name):
        return Remedy(RemedyKind.ENV, name, value)
    return None
