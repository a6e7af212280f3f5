"""How much a benchmark asks: requests, how many at a time, and how long the answers may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from gdl.domain.benchmark import BenchLoad
from gdl.tui.screens.fields_dialog import FieldsDialog, field
from gdl.tui.widgets.typed_line import TypedLine

_FIELDS = (
    ("requests", "Requests", "in all, after five short questions", 1000),
    ("concurrency", "At a time", "requests that the model answers in parallel", 256),
    ("max_tokens", "Tokens", "of an answer, at most", 4096),
)
"""Name in BenchLoad, title, what it means, the most that may be asked for."""


class BenchDialog(FieldsDialog[BenchLoad]):
    """The load to run, or None. Opens with the last one; Enter runs it."""

    AUTO_FOCUS = "#bench-requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="bench.cancel",
                tooltip="Measure nothing"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="bench.previous",
                tooltip="Previous field or button"),
        Binding("down", "app.focus_next", "Next", show=False, id="bench.next",
                tooltip="Next field or button"),
    ]  # fmt: skip
    TITLE_WORDS = "Run the benchmark"
    NOTE = "Nothing is rented for it."
    YES = "Run"

    def __init__(self, load: BenchLoad) -> None:
        super().__init__()
        self._load = load

    def fields(self) -> Iterator[Widget]:
        for name, title, words, _most in _FIELDS:
            last = str(getattr(self._load, name))
            line = TypedLine(last, type="integer", max_length=4, id=f"bench-{name}")
            yield field(title, line, words)

    def typed(self) -> BenchLoad:
        values: dict[str, int] = {}
        for name, title, _words, most in _FIELDS:
            typed = self.query_one(f"#bench-{name}", Input).value
            values[name] = int(typed) if typed.isdecimal() else 0
            if not 1 <= values[name] <= most:
                raise ValueError(f"{title}: a whole number from 1 to {most}")
        return BenchLoad(**values)
