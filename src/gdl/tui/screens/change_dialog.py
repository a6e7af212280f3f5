"""What failed, to be edited before it is tried again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from gdl.domain.change import Change
from gdl.domain.secret import Secret
from gdl.presentation.lines import plain
from gdl.tui.screens.fields_dialog import FieldsDialog, field
from gdl.tui.widgets.typed_line import TypedLine

_MOST_TOKENS = 100_000_000
_MOST_REQUESTS = 4096
_NARROW = 20
_LONGEST = 2000
"""Characters of the arguments."""


class ChangeDialog(FieldsDialog[Change]):
    """The change, or None. Opens with what is in force; an empty field means the usual."""

    AUTO_FOCUS = "#change-context"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="change.cancel",
                tooltip="Change nothing"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="change.previous",
                tooltip="Previous field or button"),
        Binding("down", "app.focus_next", "Next", show=False, id="change.next",
                tooltip="Next field or button"),
    ]  # fmt: skip
    TITLE_WORDS = "Change and retry"
    NOTE = "Leave a field empty for the default."
    YES = "Try again"

    def __init__(self, now: Change, *, where: str, token: bool) -> None:
        """now: what is in force. where: on which machine it is tried, in our own words. token:
        another can be given."""
        super().__init__()
        self._now, self._where, self._token = now, where, token

    def fields(self) -> Iterator[Widget]:
        now = self._now
        yield field("Context", _line("context", str(now.context or "")), "tokens per request")
        yield field("At a time", _line("concurrency", str(now.concurrency or "")), "requests")
        yield field("Weights", _line("weights", now.quantization), "fp8, or empty for unchanged")
        arguments = _line("arguments", shlex.join(now.engine_args), _LONGEST)
        yield field("Arguments", arguments, "of the server")
        if self._token:
            given = now.token.reveal() if now.token is not None else ""
            yield field(
                "Token", _line("token", given, 300, hidden=True), "for the hub, kept in memory"
            )

    def note(self) -> str:
        return f"{self.NOTE} {self._where}."

    def typed(self) -> Change:
        context = self._number("context", "Context", _MOST_TOKENS)
        concurrency = self._number("concurrency", "At a time", _MOST_REQUESTS)
        try:
            arguments = tuple(shlex.split(self._text("arguments")))
        except ValueError as error:
            raise ValueError(f"Arguments: {error}") from None
        token = self._text("token") if self._token else ""
        return Change(
            context,
            concurrency,
            plain(self._text("weights"), 40),
            arguments,
            Secret(token) if token else None,
        )

    def _text(self, name: str) -> str:
        return self.query_one(f"#change-{name}", Input).value.strip()

    def _number(self, name: str, title: str, most: int) -> int | None:
        typed = self._text(name).replace(",", "")
        if not typed:
            return None
        if not typed.isdecimal() or not 1 <= int(typed) <= most:
            raise ValueError(f"{title}: a whole number from 1 to {most:,}")
        return int(typed)


def _line(name: str, value: str, longest: int = _NARROW, *, hidden: bool = False) -> Input:
    wide = "-wide" if longest > _NARROW else ""
    name = f"change-{name}"
    return TypedLine(value, max_length=longest, password=hidden, id=name, classes=wide)
