"""The line in which offers are filtered, what is wrong with it, and how many of them it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.highlighter import Highlighter
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import Suggester
from textual.widgets import Input, Static

from gdl.presentation.filter_fields import FIELDS
from gdl.presentation.offer_filter import OfferFilter, about, completed, parse
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.typed_line import TypedLine

NamesOf = Callable[[str], Sequence[str]]
"""The names that the offers have in a field."""
_EXAMPLE = "filter: words, or gpu:4090 price<0.5 vram>=24 !spain"


class FilterLine(TypedLine):
    """The filter; says in the footer what its keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "To the offers", id="filter.done",
                tooltip="Keep the filter, and go to the table"),
        Binding("tab", "complete", "Complete", id="filter.complete",
                tooltip="Complete the field or the name; if there is nothing to complete, go "
                        "to the table"),
        Binding("escape", "screen.clear", "Clear", id="filter.clear",
                tooltip="Clear the filter, and go to the table"),
    ]  # fmt: skip

    def __init__(self, names: NamesOf) -> None:
        super().__init__(
            placeholder=_EXAMPLE,
            id="filter",
            max_length=200,
            select_on_focus=False,
            highlighter=_Wrong(),
            suggester=_Completion(names),
        )
        self._names = names

    def action_complete(self) -> None:
        at_end = self.cursor_position == len(self.value)
        longer = completed(self.value, self._names) if at_end else None
        if longer is None:
            self.screen.focus_next()
            return
        self.value = longer
        self.cursor_position = len(longer)


class _Wrong(Highlighter):
    """Marks the terms that cannot be asked for."""

    def highlight(self, text: Text) -> None:
        for problem in parse(text.plain).problems:
            if not problem.typing:
                text.stylize("bold underline red", problem.start, problem.end)


class _Completion(Suggester):
    def __init__(self, names: NamesOf) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._names = names

    async def get_suggestion(self, value: str) -> str | None:
        return completed(value, self._names)


class FilterRow(Vertical):
    """The filter, `#filter`, to its right the screen's `#counts`, and below it what is wrong with
    it or what its field means."""

    def __init__(self, names: NamesOf, *, blink: bool) -> None:
        super().__init__(id="filter-row")
        self._names, self._blink = names, blink
        self.asked = OfferFilter()

    def compose(self) -> ComposeResult:
        with Horizontal(id="filter-line"):
            yield Static("/", id="filter-sign")
            line = FilterLine(self._names)
            line.cursor_blink = self._blink
            yield line
            yield LiveText(id="counts")
        yield LiveText(id="filter-note")

    @property
    def line(self) -> str:
        """As it was typed."""
        return " ".join(self.query_one(FilterLine).value.split())

    def on_mount(self) -> None:
        self._note()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.asked = parse(event.value)
        self._note()

    def on_descendant_focus(self) -> None:
        self._note()

    def on_descendant_blur(self) -> None:
        self._note()

    def _note(self) -> None:
        note = self.query_one("#filter-note", LiveText)
        line = self.query_one(FilterLine)
        said = _said(self.asked, line.value, line.cursor_position, typing=line.has_focus)
        note.display = bool(said)
        note.say(said)


def _said(asked: OfferFilter, line: str, cursor: int, *, typing: bool) -> Text:
    """One line; empty where there is nothing to tell."""
    text = Text(no_wrap=True, overflow="ellipsis")
    problem = asked.problem
    if problem is not None and not (problem.typing and typing):
        text.append("✗ ", "bold red")
        text.append(problem.what, "bold")
        return text.append(f" · {problem.helps}")
    if not typing:
        return text
    if problem is not None:
        return text.append(f"{problem.what}, {problem.helps}", "dim")
    if told := about(line, cursor):
        return text.append(told, "dim")
    if not line.strip():
        fields = " ".join(field.name for field in FIELDS)
        return text.append(f"F1 explains the fields: {fields}", "dim")
    return text
