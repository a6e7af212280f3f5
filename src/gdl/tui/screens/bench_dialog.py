"""How much a benchmark asks: requests, how many at a time, and how long the answers may be."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from gdl.domain.benchmark import BenchLoad
from gdl.tui.widgets.live_text import LiveText

_FIELDS = (
    ("requests", "Requests", "in all, after five short questions", 1000),
    ("concurrency", "At a time", "how many the model answers side by side", 256),
    ("max_tokens", "Tokens", "of an answer, at most", 4096),
)
"""Name in BenchLoad, title, what it means, the most that may be asked for."""


class BenchDialog(ModalScreen[BenchLoad | None]):
    """The load to run, or None. Opens with the last one; Enter runs it."""

    AUTO_FOCUS = "#bench-requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="bench.cancel",
                tooltip="Measure nothing"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="bench.previous",
                tooltip="The line or button above"),
        Binding("down", "app.focus_next", "Next", show=False, id="bench.next",
                tooltip="The line or button below"),
    ]  # fmt: skip

    def __init__(self, load: BenchLoad) -> None:
        super().__init__()
        self._load = load

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Run the benchmark", "bold"), classes="dialog-title")
            for name, title, words, _most in _FIELDS:
                with Horizontal(classes="bench-row"):
                    yield Static(Text(title), classes="bench-name")
                    yield Input(
                        str(getattr(self._load, name)), type="integer", max_length=4,
                        id=f"bench-{name}",
                    )  # fmt: skip
                    yield Static(Text(words, "dim"), classes="bench-words")
            yield LiveText(id="bench-said", classes="dialog-note")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Run (Enter)", id="yes", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def on_mount(self) -> None:
        for line in self.query(Input):
            line.cursor_blink = False

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self) -> None:
        self.action_answer(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        if not answer:
            self.dismiss(None)
            return
        values: dict[str, int] = {}
        for name, title, _words, most in _FIELDS:
            typed = self.query_one(f"#bench-{name}", Input).value
            values[name] = int(typed) if typed.isdecimal() else 0
            if not 1 <= values[name] <= most:
                self._say(f"{title}: a whole number from 1 to {most}")
                return
        self.dismiss(BenchLoad(**values))

    def _say(self, words: str) -> None:
        self.query_one("#bench-said", LiveText).say(words or "Nothing is rented for it.")
