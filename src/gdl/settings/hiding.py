"""What of the settings is not shown, and not given to others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from gdl.settings.names import sounds_like_secret_option

HIDDEN = "(set, not shown)"
"""Stands for a secret."""
_NONE: Mapping[str, str] = MappingProxyType({})
_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")


def safe(text: str) -> str:
    """Without the login that an address in it may hold."""
    return _LOGIN.sub("***@", text)


def without_login(address: str) -> str:
    """The same for who has a login of their own: nothing stands for it."""
    return _LOGIN.sub("", address)


def without_secrets(arguments: Iterable[str]) -> list[str]:
    """With every value of an option that sounds secret hidden."""
    told = []
    for word, option in _with_secret_options(arguments, _NONE):
        if not option:
            told.append(safe(word))
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            told.append(f"{name}={HIDDEN}" if equals and value else word)
        else:
            told.append(HIDDEN)
    return told


def hold_secret(arguments: Iterable[str]) -> bool:
    """Whether there is a value among them that is hidden."""
    return any(HIDDEN in word for word in without_secrets(arguments))


def omitting_secrets(
    arguments: Iterable[str], names: Mapping[str, str] = _NONE
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(arguments, notes): without the options whose values are nobody else's business. names:
    short names of options -> the one in full."""
    kept, notes = [], []
    for word, option in _with_secret_options(arguments, names):
        if not option:
            kept.append(without_login(word))
        elif word.startswith("-"):
            notes.append(f"{option} is omitted, as its value is a secret: add it again")
    return tuple(kept), tuple(notes)


def _with_secret_options(
    arguments: Iterable[str], names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Each word with the secret option that it is or belongs to, which may have several values;
    with "" where there is none."""
    option = ""
    for word in arguments:
        if not option or word.startswith("-"):
            name = word.partition("=")[0]
            name = names.get(name, name)
            option = name if sounds_like_secret_option(name) else ""
        yield word, option
