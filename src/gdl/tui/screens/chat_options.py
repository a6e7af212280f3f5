"""How the model is asked: the system prompt and the sampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from gdl.domain.chat import NUMBERS, ChatOptions
from gdl.domain.conversation import TEXT_KEPT
from gdl.tui.screens.fields_dialog import FieldsDialog, field
from gdl.tui.widgets.typed_line import TypedLine, TypedText


class ChatOptionsDialog(FieldsDialog[ChatOptions]):
    """The options, or None. Opens with those in force; an empty field leaves it to the server."""

    AUTO_FOCUS = "#chat-system"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="chat_options.cancel",
                tooltip="Change nothing"),
        Binding("ctrl+s", "answer(True)", "Use these", id="chat_options.take",
                tooltip="Use these values"),
    ]  # fmt: skip
    TITLE_WORDS = "Chat options"
    NOTE = "An empty field is left to the server · Tab goes to the next one"
    YES = "Use these"
    YES_KEY = "Ctrl+S"  # Enter is a new line of the system prompt

    def __init__(self, now: ChatOptions) -> None:
        super().__init__()
        self._now = now

    def fields(self) -> Iterator[Widget]:
        now = self._now
        system = TypedText(now.system, id="chat-system", compact=True, highlight_cursor_line=False)
        system.cursor_blink = False
        yield Vertical(Static("System prompt"), system, id="chat-system-row")
        yield field("Temperature", _line("temperature", now.temperature), "0 to 2")
        yield field("Top-p", _line("top_p", now.top_p), "above 0, up to 1")
        yield field("Max tokens", _line("max_tokens", now.max_tokens), "of an answer")
        yield field("Seed", _line("seed", now.seed), "for repeatable answers, where supported")

    def typed(self) -> ChatOptions:
        made = ChatOptions(self.query_one("#chat-system", TextArea).text.strip()[:TEXT_KEPT])
        for name in NUMBERS:
            typed = self.query_one(f"#chat-{name}", Input).value
            made = made.changed(name, typed.replace(",", "").strip())
        return made


def _line(name: str, value: float | None) -> Input:
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return TypedLine(text, max_length=12, id=f"chat-{name}")
