"""A small dialog with fields to type in, and a line that says what is wrong with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.live_text import LiveText

Result = TypeVar("Result")


class FieldsDialog(Modal[Result | None]):
    """Dismissed with what was typed, or None. Enter in a field takes it, Escape cancels: a subclass
    binds that to `answer(False)`, yields its `fields`, and reads them in `typed`."""

    TITLE_WORDS: ClassVar[str]
    NOTE: ClassVar[str]
    """Said as long as nothing is wrong."""
    YES: ClassVar[str]
    YES_KEY: ClassVar[str] = "Enter"

    def note(self) -> str:
        """The same, where it depends on more."""
        return self.NOTE

    @abstractmethod
    def fields(self) -> Iterator[Widget]:
        """What is asked for, each made by `field`."""

    @abstractmethod
    def typed(self) -> Result:
        """Raises ValueError with what is wrong, for the user."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self.TITLE_WORDS, "bold"), classes="dialog-title")
            yield from self.fields()
            yield LiveText(id="fields-said", classes="dialog-note")
            with Horizontal(classes="dialog-buttons"):
                yield Button(f"{self.YES} ({self.YES_KEY})", id="yes", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def on_mount(self) -> None:
        for line in self.query(Input):
            line.cursor_blink = False
        self._say(self.note())  # nothing changes where all fields begin empty

    def on_input_changed(self) -> None:
        self._say(self.note())

    def on_input_submitted(self) -> None:
        self.action_answer(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        if not answer:
            self.dismiss(None)
            return
        try:
            result = self.typed()
        except ValueError as error:
            self._say(str(error))
        else:
            self.dismiss(result)

    def _say(self, words: str) -> None:
        self.query_one("#fields-said", LiveText).say(words)


def field(title: str, line: Input, words: str) -> Horizontal:
    """One line of it: what is asked for, the field, and what it means."""
    return Horizontal(
        Static(Text(title), classes="field-name"),
        line,
        Static(Text(words, "dim"), classes="field-words" + " -beside" * line.has_class("-wide")),
        classes="field-row",
    )
