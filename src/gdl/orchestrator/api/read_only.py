"""The one guard of read-only mode: a mark on every method that rents, releases, or changes what
coming deployments do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from gdl.domain.errors import UsageError


class Guarded(Protocol):
    """Whose methods are marked. read_only: whether nothing may be changed."""

    read_only: bool


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Guarded)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def changing(what: str) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """Marks a coroutine method that changes something: `what`, to whoever is refused. It raises
    UsageError in read-only mode, before anything is done."""

    def mark(method: Method[S, P, R]) -> Method[S, P, R]:
        @wraps(method)
        async def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            refuse_read_only(self, what)
            return await method(self, *args, **kwargs)

        return guarded

    return mark


def refuse_read_only(guarded: Guarded, what: str) -> None:
    """For a method that changes something with some of its arguments alone. Raises UsageError."""
    if guarded.read_only:
        raise UsageError(f"{what} is not possible in read-only mode", "omit --read-only")
