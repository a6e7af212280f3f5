"""A string that must not be seen by accident."""

from __future__ import annotations


class Secret:
    """Holds a key or token; every way of printing it shows asterisks.

    The text is had with `reveal()` alone, so a search for that word finds every use.
    Equality compares the text; instances are hashable and immutable by convention.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Never pass it to a log, an event, an argument list or an error."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        raise TypeError("a secret is never pickled")
