"""server.toml, read: what SGLang's server knows, and which flags are given."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from gdl import shipped


@cache
def _raw() -> dict[str, Any]:
    return shipped.table(__file__, "server.toml")


def release() -> str:
    """The release that the table was read out of."""
    return str(_raw()["release"])


@cache
def flags() -> frozenset[str]:
    """Every flag, by its first name."""
    return frozenset(_raw()["flags"])


@cache
def tool_parsers() -> frozenset[str]:
    return frozenset(_raw()["tool_parsers"])


@cache
def reasoning_parsers() -> frozenset[str]:
    return frozenset(_raw()["reasoning_parsers"])


@cache
def architectures() -> frozenset[str]:
    return frozenset(_raw()["architectures"])


def full_name(flag: str) -> str:
    """The flag that a word stands for: itself, by another name, or by a beginning that only one
    has. What is none, or could be several, as it was written."""
    name, aliases = flag.partition("=")[0], _raw()["aliases"]
    positive = f"--{name[5:]}" if name.startswith("--no-") else name
    if positive in flags() or positive in aliases:
        return str(aliases.get(positive, positive))
    begun = {aliases.get(each, each) for each in (*flags(), *aliases) if each.startswith(positive)}
    return str(begun.pop()) if len(begun) == 1 and len(name) > 2 else name


def given(arguments: Iterable[str]) -> dict[str, str]:
    """The flags in a command line by full name, each with its last value: "" for none, "no" where
    it is turned off."""
    found: dict[str, str] = {}
    last = ""
    for word in arguments:
        if not word.startswith("--"):
            if last:
                found[last] = f"{found[last]} {word}".strip()
            continue
        last = full_name(word)
        found[last] = "no" if word.startswith("--no-") else word.partition("=")[2]
    return found


def unknown(arguments: Iterable[str]) -> tuple[str, ...]:
    """The flags in a command line that the release does not have."""
    return tuple(sorted(flag for flag in given(arguments) if flag not in flags()))
