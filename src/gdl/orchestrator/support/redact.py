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
_NAME = r"(?:api[_-]?key|key|token|secret|passw(?:or)?d|pwd|passphrase|credential|cookie)"
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
    (re.compile(r"([a-z][a-z0-9+.-]{0,30}://)[^\s/\"'<>]*@", re.IGNORECASE), rf"\1{REMOVED}@"),
    (
        re.compile(
            r"\b(?:hf_|sk-|gdl-|rpa_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|r8_|npm_|pypi-)"
            r"[\w-]{12,}"
        ),
        REMOVED,
    ),
    # Addresses that are signed for whoever has them.
    (
        re.compile(
            r"([?&;](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|policy|sig)=)"
            r"[^&;\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{REMOVED}",
    ),
    (
        re.compile(r"\b((?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\"'\s].*", re.IGNORECASE),
        rf"\1{REMOVED}",
    ),
    (re.compile(r"(\s(?:-u|--user|--proxy-user)[ =][\"']?[^\s:\"']+:)[^\s\"']+"), rf"\1{REMOVED}"),
    (re.compile(r"(\blogin\s+\S+\s+password\s+)\S+", re.IGNORECASE), rf"\1{REMOVED}"),
    (re.compile(r"(\bSecret\w*\([\"']?)[^)\"'\s]+"), rf"\1{REMOVED}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), REMOVED),
    (re.compile(r"\b(?:ssh-(?:rsa|ed25519|dss)|ecdsa-\S{1,40}) AAAA[\w+/=]+"), REMOVED),
)
_ASSIGNED = re.compile(
    rf"(?<![\w.-])(?P<name>[\w.-]{{0,200}}{_NAME}[\w.-]{{0,200}}+)"
    # Quotes may be escaped, and so may the whole in an address.
    r"(?P<sign>(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"']|b'|Secret\w*\(')?"
    r"|(?:%22)?%3[AD](?:%20|%22)*|\s+[\"']|\s+)"
    r"(?P<value>[^\s\"',;&)}\]]+)",
    re.IGNORECASE,
)
_LIKE_A_SECRET = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[\w+/=-]{16,}")
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
        """The next line of a text; lines of a private key are dropped altogether."""
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
        # Most lines hold no such name, and to look for one is quicker.
        return _ASSIGNED.sub(_assigned, text) if _SECRETIVE.search(text) else text


def _assigned(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    plain = sign.isspace() and not (_LIKE_A_SECRET.fullmatch(value) and _telling(name))
    spoken = plain and not name.startswith("-")
    spoken = spoken or (sign.strip() in ("'", '"') and not _telling(name))
    spoken = spoken or name.endswith(("Error", "Exception"))
    if spoken or name in _KEPT or value.startswith(REMOVED) or _harmless(name, value):
        return found[0]
    return f"{name}{sign}{REMOVED}"


def _telling(name: str) -> bool:
    """Whether a value may follow such a name without any sign between them."""
    return name.isupper() or name.lower() in ("token", "password", "secret")


def _harmless(name: str, value: str) -> bool:
    """Whether a value is a number, or nothing, as in `max_num_batched_tokens=2048`."""
    if name.lower().endswith("pwd") and value.startswith(("/", "~")):
        return True  # a working folder
    return _HARMLESS.fullmatch(value) is not None and _COUNTS.search(name.lower()) is not None
