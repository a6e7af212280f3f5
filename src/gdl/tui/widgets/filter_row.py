"""The line in which offers are filtered, and how many of them it leaves."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static

from gdl.tui.widgets.live_text import LiveText


class FilterLine(Input):
    """The filter; says in the footer what its two keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "To the offers", id="filter.done",
                tooltip="Keep the filter, and go to the table"),
        Binding("escape", "screen.clear", "Clear", id="filter.clear",
                tooltip="Clear the filter, and go to the table"),
    ]  # fmt: skip


class FilterRow(Horizontal):
    """The filter, `#filter`, and to its right the screen's `#counts`."""

    def __init__(self, *, blink: bool) -> None:
        super().__init__(id="filter-row")
        self._blink = blink

    def compose(self) -> ComposeResult:
        yield Static("/", id="filter-sign")
        line = FilterLine(
            placeholder="filter: words, or gpu:4090 price<0.5 vram>=24 !spain",
            id="filter",
            max_length=200,
            select_on_focus=False,
        )
        line.cursor_blink = self._blink
        yield line
        yield LiveText(id="counts")
