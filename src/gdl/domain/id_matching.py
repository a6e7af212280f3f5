"""Ids as people type them: whole, or as much of the beginning as tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

LEAST_PREFIX = 4
"""Characters of an id that must be typed at least."""


def matching(ident: str, rows: Iterable[T], ids: Callable[[T], Iterable[str | None]]) -> list[T]:
    """The rows that an id names whole; without any, those with an id that begins so."""
    known = [(row, [each for each in ids(row) if each]) for row in rows]
    exact = [row for row, names in known if ident in names]
    if exact or len(ident) < LEAST_PREFIX:
        return exact
    return [row for row, names in known if any(name.startswith(ident) for name in names)]
