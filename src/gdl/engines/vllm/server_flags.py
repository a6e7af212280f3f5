"""server_flags.toml, read: what each release's server knows, and which flags are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal

from gdl import shipped
from gdl.engines.python.versions import parse

Kind = Literal["flag", "value", "tool_parser", "reasoning_parser", "template"]


@cache
def _raw() -> dict[str, Any]:
    return shipped.table(__file__, "server_flags.toml")


@cache
def _row(version: str) -> int:
    """Where in the table's releases the version belongs: with the newest that is not newer."""
    older = [at for at, name in enumerate(_raw()["releases"]) if parse(name) <= parse(version)]
    return older[-1] if older else 0


def span(kind: Kind, name: str) -> tuple[str, str] | None:
    """(first, last) release that knows it; "": since ever, still. None: no release does."""
    told = _raw()[kind].get(name)
    if told is None:
        return None
    first, _, last = str(told).partition("-")
    return first, last


def knows(kind: Kind, name: str, version: str) -> bool:
    """Whether a release has that flag, that value ("--flag value"), parser or template."""
    known = span(kind, name)
    if known is None:
        return False
    first, last = known
    row = _row(version)
    return (not first or _row(first) <= row) and (not last or row <= _row(last))


def ignorance(kind: Kind, name: str, version: str) -> str:
    """Why a release does not have it, such as "vLLM 0.14.0 does not know it (0.19.0 does)"."""
    known = span(kind, name)
    if known is None:
        return f"vLLM {version} is not known to have it"
    first, last = known
    if first and _row(version) < _row(first):
        return f"vLLM {version} does not know it ({first} is the first that does)"
    return f"vLLM {version} does not know it any more ({last} was the last that did)"


def archive_sha256(version: str) -> str:
    """SHA-256 of a release's source archive, in hex; "" where the table does not have it."""
    return str(_raw()["archive"].get(version, ""))


@cache
def _full_names() -> tuple[str, ...]:
    """Every flag of every release, and how the ones without a value are turned off."""
    flags = list(_raw()["flag"])
    return (*flags, *(f"--no-{flag[2:]}" for flag in flags))


def full_names(flag: str) -> tuple[str, ...]:
    """The flags that a word may stand for, as the server reads it: in full, with underscores, by
    a short name, or by its beginning. Several: vLLM's releases differ, or it would refuse them."""
    name = flag.partition("=")[0].partition(".")[0]
    if not name.startswith("--"):
        short: Mapping[str, str] = _raw()["short"]
        # "-q8" is "-q 8"; names of more than one letter are not run into their value.
        return tuple(short[key] for key in (name, name[:2]) if key in short)[:1]
    name = name.replace("_", "-")
    if name in _full_names() or len(name) < 3:
        return (name,)
    return tuple(full for full in _full_names() if full.startswith(name)) or (name,)


def given(arguments: Iterable[str]) -> dict[str, str]:
    """The flags in a command line by full name (`--no-x` as `--x`), each with its last value:
    "" for none, "no" where it is turned off."""
    found: dict[str, str] = {}
    open_flags: tuple[str, ...] = ()
    for word in arguments:
        if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
            found.update(dict.fromkeys(open_flags, word))
            open_flags = ()
            continue
        names = full_names(word)
        off = bool(names) and all(name.startswith("--no-") for name in names)
        names = tuple(f"--{name[5:]}" if name.startswith("--no-") else name for name in names)
        value = _glued_value(word)
        found.update(dict.fromkeys(names, "no" if off else value))
        open_flags = () if off or value else names
    return found


def _glued_value(word: str) -> str:
    if "=" in word:
        return word.partition("=")[2]
    single = not word.startswith("--") and word not in _raw()["short"]
    return word[2:] if single and word[:2] in _raw()["short"] else ""
