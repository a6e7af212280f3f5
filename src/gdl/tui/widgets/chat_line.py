"""What is asked next: one line or several, with the earlier questions at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widgets import TextArea

from gdl.tui.widgets.typed_line import in_turn

_NOT_OURS = ("select_line", "select_all")
"""Bound by Textual to F6 and F7, which are other windows everywhere."""


class ChatLine(TextArea):
    """Up on the first line and Down on the last one recall what was asked before; the paging keys
    move the conversation above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Ask", show=False, id="chat.ask",
                tooltip="Send the message"),
        Binding("ctrl+j,shift+enter", "newline", "New line", show=False, id="chat.newline",
                tooltip="Start a new line"),
        Binding("pageup", "screen.page(-1)", "Page up", show=False, id="chat.page_up",
                tooltip="Scroll up one page"),
        Binding("pagedown", "screen.page(1)", "Page down", show=False, id="chat.page_down",
                tooltip="Scroll down one page"),
    ]  # fmt: skip

    def __init__(self, ask: Callable[[str], bool], *, blink: bool) -> None:
        """ask: told what was written; whether it was sent, and the line is to be empty."""
        super().__init__(
            id="chat-line",
            compact=True,
            highlight_cursor_line=False,
            placeholder="ask the model · Enter sends it",
        )
        self.cursor_blink = blink
        self._ask = ask
        self._earlier: list[str] = []
        self._place: int | None = None
        self._draft = ""

    def remember(self, *questions: str) -> None:
        """They can be recalled, the latest first."""
        for one in questions:
            if not self._earlier or self._earlier[-1] != one:
                self._earlier.append(one)
        self._place = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in _NOT_OURS and super().check_action(action, parameters)

    async def on_key(self, event: Key) -> None:
        if not await in_turn(self, event) and event.key == "enter":
            event.prevent_default()  # somebody has another key for what it does

    def action_submit(self) -> None:
        if self._ask(self.text):
            self.remember(self.text.strip())
            self.text = ""

    def action_newline(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        first = self.navigator.is_first_wrapped_line(self.cursor_location)
        if select or not first or not self._recall(-1):
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        last = self.navigator.is_last_wrapped_line(self.cursor_location)
        if select or not last or not self._recall(1):
            super().action_cursor_down(select)

    def _recall(self, by: int) -> bool:
        """An earlier question, or a later one; after the last comes what was being written."""
        here = len(self._earlier) if self._place is None else self._place
        place = here + by
        if not 0 <= place <= len(self._earlier):
            return False
        if self._place is None:
            self._draft = self.text
        self._place = None if place == len(self._earlier) else place
        self.text = self._draft if self._place is None else self._earlier[place]
        # So that the same key goes on.
        end = self.document.end
        self.move_cursor((0, len(self.document[0])) if by < 0 else end)
        return True
