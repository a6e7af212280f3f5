"""A window that asks for some of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gdl.presentation.lines import plain
from gdl.tui.screens.modal import Modal

_TAKEN, _LEFT = "[x]", "[ ]"


class ChooseSeveral(Modal[tuple[str, ...]]):
    """The words that were marked, or the one under the cursor where none was; none when it is
    cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="choose.mark", tooltip="Mark or unmark this one"),
        Binding("escape", "dismiss(())", "Cancel", id="choose.cancel_all",
                tooltip="Choose nothing"),
    ]  # fmt: skip

    def __init__(self, title: str, words: Sequence[str]) -> None:
        super().__init__()
        self._title, self._words = title, words
        self._marked: set[int] = set()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._title, "bold"), classes="dialog-title")
            yield OptionList(*(Option(self._line(n)) for n in range(len(self._words))))
            yield Static("Space marks several · Enter accepts · Esc cancels", classes="dialog-note")

    def _line(self, number: int) -> Text:
        sign = _TAKEN if number in self._marked else _LEFT
        return Text(f"{sign} {plain(self._words[number], 80)}")

    def action_mark(self) -> None:
        options = self.query_one(OptionList)
        number = options.highlighted
        if number is not None:
            self._marked ^= {number}
            options.replace_option_prompt_at_index(number, self._line(number))
            options.action_cursor_down()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = sorted(self._marked) or [event.option_index]
        self.dismiss(tuple(self._words[number] for number in chosen))
