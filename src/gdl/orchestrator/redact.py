"""Secrets out of texts and settings, before anything is handed to somebody else. Pure.

It would rather take away too much: what looks like a key, a token or a password goes, wherever it
stands, and so does every secret that is known by its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

REMOVED = "[removed]"
_SHORTEST = 6
"""Characters of a known secret; shorter ones would blot out ordinary words."""
_NAME = r"(?:api[_-]?key|key|token|secret|passw(?:or)?d|passphrase|credential|cookie)"
_SECRETIVE = re.compile(_NAME, re.IGNORECASE)
_COUNTS = re.compile(r"tokens?[\w-]*|[\w-]*keys?")
_HARMLESS = re.compile(r"[\d.,]*|none|null|true|false|\W+", re.IGNORECASE)
_PATTERNS = (
    (
        re.compile(
            r"(authorization\W{1,6}(?:(?:bearer|basic|token|digest)\s+)?)[^\s\"',}]+",
            re.IGNORECASE,
        ),
        rf"\1{REMOVED}",
    ),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1{REMOVED}"),
    # A password may hold an @ of its own: everything up to the last one before the path.
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/\"'<>]*@", re.IGNORECASE), rf"\1{REMOVED}@"),
    (
        re.compile(
            r"\b(?:hf_|sk-|gdl-|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|r8_|npm_|pypi-)"
            r"[\w-]{12,}"
        ),
        REMOVED,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), REMOVED),
    (re.compile(r"\b(?:ssh-(?:rsa|ed25519|dss)|ecdsa-\S+) AAAA[\w+/=]+"), REMOVED),
)
_ASSIGNED = re.compile(
    rf"(?P<name>[\w.-]*{_NAME}[\w.-]*)(?P<sign>[\"']?\s*[=:]\s*(?:[\"']|b'|Secret\w*\(')?|\s+)"
    r"(?P<value>[^\s\"',;&)}\]]+)",
    re.IGNORECASE,
)
_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_KEPT = frozenset({"key_file", "host_key_file", "api_key_file"})
"""Names that sound secret and hold a path."""


class Redactor:
    """known: secrets by their text."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        texts = {text.strip() for text in known}
        self._known = sorted((t for t in texts if len(t) >= _SHORTEST), key=len, reverse=True)
        self._in_key = False

    def line(self, text: str) -> str:
        """The next line of a text; lines of a private key are left out altogether."""
        if self._in_key:
            if not (end := _PEM_END.search(text)):
                return ""
            self._in_key = False
            text = text[end.end() :]
        while begin := _PEM_BEGIN.search(text):
            end = _PEM_END.search(text, begin.end())
            if end is None:
                self._in_key = True
                text = text[: begin.start()] + REMOVED
                break
            text = text[: begin.start()] + REMOVED + text[end.end() :]
        return self._words(text)

    def text(self, text: str) -> str:
        """A whole text."""
        self._in_key = False
        cleaned = "\n".join(self.line(line) for line in text.split("\n"))
        self._in_key = False
        return cleaned

    def value(self, value: Any, name: str = "") -> Any:
        """Plain JSON types with every secret removed, by its name or by its looks."""
        if isinstance(value, dict):
            return {self.text(str(k)): self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return self._items(list(value), name)
        if isinstance(value, str):
            hidden = _SECRETIVE.search(name) and name not in _KEPT and not _harmless(name, value)
            return REMOVED if hidden else self.text(value)
        return value

    def _items(self, values: list[Any], name: str) -> list[Any]:
        """A list; what follows a flag with a secretive name is its value."""
        cleaned, before = [], name
        for value in values:
            cleaned.append(self.value(value, before))
            flag = isinstance(value, str) and value.startswith("-") and "=" not in value
            before = value if flag else name
        return cleaned

    def _words(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, REMOVED)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _ASSIGNED.sub(_assigned, text)


def _assigned(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    spoken = sign.isspace() and not name.startswith("-")
    spoken = spoken or name.endswith(("Error", "Exception"))
    if spoken or name in _KEPT or value.startswith(REMOVED) or _harmless(name, value):
        return found[0]
    return f"{name}{sign}{REMOVED}"


def _harmless(name: str, value: str) -> bool:
    """Whether a value is a number, or nothing, as in `max_num_batched_tokens=2048`."""
    return _HARMLESS.fullmatch(value) is not None and _COUNTS.search(name.lower()) is not None
