"""The little that must be known of ~/.ssh/config: whether a name is an alias, user and port.

Everything else an alias stands for (jump hosts, keys) is left to the SSH library, which reads the
file itself. `Match` blocks are passed over: their conditions may run commands.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    is_alias = False
    values: dict[str, str] = {}
    applies = True
    for keyword, words in _lines(path or default_path(), 0):
        if keyword == "host":
            applies = _matches(name, words)
            is_alias = is_alias or (applies and _matches(name, [w for w in words if w != "*"]))
        elif keyword == "match":
            applies = False
        elif applies and words:
            values.setdefault(keyword, words[0])
    port = values.get("port", "")
    return HostEntry(
        is_alias=is_alias,
        hostname=values.get("hostname", ""),
        user=values.get("user", ""),
        port=int(port) if port.isascii() and port.isdigit() and int(port) <= 65535 else 0,
    )


def aliases(path: Path | None = None) -> list[str]:
    """The names that the file gives to single hosts, in its order. None for a file that cannot be
    read."""
    found: dict[str, None] = {}
    for keyword, words in _lines(path or default_path(), 0):
        if keyword == "host":
            found.update(dict.fromkeys(w for w in words if not set(w) & set("*?!")))
    return list(found)


def _matches(name: str, patterns: list[str]) -> bool:
    lowered = name.lower()
    hit = False
    for pattern in patterns:
        matched = fnmatch.fnmatchcase(lowered, pattern.lstrip("!").lower().replace("[", "[[]"))
        if matched and pattern.startswith("!"):
            return False
        hit = hit or matched
    return hit


def _lines(path: Path, depth: int) -> Iterator[tuple[str, list[str]]]:
    """(keyword in lower case, its words) in order, `Include`d files in their place."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        keyword, words = _split(line)
        if keyword == "include" and depth < _DEEPEST_INCLUDE:
            for word in words:
                for found in _included(word):
                    yield from _lines(found, depth + 1)
        elif keyword:
            yield keyword, words


def _included(pattern: str) -> list[Path]:
    full = Path(pattern).expanduser()
    base = default_path().parent
    if full.is_absolute():
        return sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor))))
    return sorted(base.glob(pattern))


def _split(line: str) -> tuple[str, list[str]]:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return "", []
    try:
        words = shlex.split(found[2], comments=True)
    except ValueError:
        words = found[2].split()
    return found[1].lower(), words
