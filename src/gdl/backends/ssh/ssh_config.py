"""The little that must be known of ~/.ssh/config: whether a name is an alias, user and port.

Everything else an alias stands for (jump hosts, keys) is left to asyncssh, which reads the file
itself when it connects. It cannot be asked for this: it neither lists aliases nor tells that no
`Host` knows a name, it ends at the first line that is wrong, and it runs the commands of `Match
exec`, which must not happen for a list of offers. So `Match` blocks are passed over here.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from gdl.domain.lazy_dataclass import dataclass

_DEEPEST_INCLUDE = 8
_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
"""`Keyword words` or `Keyword=words`."""


@dataclass(frozen=True, slots=True)
class HostEntry:
    """What the file says about a name. is_alias: a `Host` pattern other than `*` knows it.
    port 0, user and hostname "": not said."""

    is_alias: bool = False
    hostname: str = ""
    user: str = ""
    port: int = 0


def default_path() -> Path:
    return Path.home() / ".ssh" / "config"


def lookup(name: str, path: Path | None = None) -> HostEntry:
    """As OpenSSH reads it: the first value obtained wins. An unreadable file says nothing."""
    found = _Lookup(name)
    found.read(path or default_path(), 0)
    port = found.values.get("port", "")
    return HostEntry(
        is_alias=found.is_alias,
        hostname=found.values.get("hostname", ""),
        user=found.values.get("user", ""),
        port=int(port) if port.isascii() and port.isdigit() and int(port) <= 65535 else 0,
    )


class _Lookup:
    def __init__(self, name: str) -> None:
        self._name = name
        self.is_alias = False
        self.values: dict[str, str] = {}

    def read(self, path: Path, depth: int) -> None:
        applies = True
        for keyword, words in _lines(path):
            if keyword == "host":
                applies = _matches(self._name, words)
                if applies and _matches(self._name, [w for w in words if w != "*"]):
                    self.is_alias = True
            elif keyword == "match":
                applies = False
            elif keyword == "include" and applies and depth < _DEEPEST_INCLUDE:
                # What is included into a block belongs to it, and ends with its file.
                for included in _included(words):
                    self.read(included, depth + 1)
            elif applies and words:
                self.values.setdefault(keyword, words[0])


def aliases(path: Path | None = None) -> list[str]:
    """The names that the file gives to single hosts, in its order. None for a file that cannot be
    read."""
    return list(dict.fromkeys(_names(path or default_path(), 0)))


def _names(path: Path, depth: int) -> Iterator[str]:
    for keyword, words in _lines(path):
        if keyword == "host":
            yield from (w for w in words if not set(w) & set("*?!"))
        elif keyword == "include" and depth < _DEEPEST_INCLUDE:
            for included in _included(words):
                yield from _names(included, depth + 1)


def _matches(name: str, patterns: list[str]) -> bool:
    lowered = name.lower()
    hit = False
    for pattern in patterns:
        matched = fnmatch.fnmatchcase(lowered, pattern.lstrip("!").lower().replace("[", "[[]"))
        if matched and pattern.startswith("!"):
            return False
        hit = hit or matched
    return hit


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(keyword in lower case, its words) of one file, in order; nothing of an unreadable one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        keyword, words = _split(line)
        if keyword:
            yield keyword, words


def _included(patterns: list[str]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        full = Path(pattern).expanduser()
        if full.is_absolute():
            found += sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor))))
        else:
            found += sorted(default_path().parent.glob(pattern))
    return found


def _split(line: str) -> tuple[str, list[str]]:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return "", []
    try:
        words = shlex.split(found[2], comments=True)
    except ValueError:
        words = found[2].split()
    return found[1].lower(), words
