"""The most to bid for an interruptible machine."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from gdl.tui.widgets.live_text import LiveText

_MOST = 1000.0
_WORDS = (
    "They are cheaper, and lost to whoever bids more, with all that is on them. A tenth over the "
    "least that a machine goes for is bid, and never more than this for an hour, its disk not "
    "included."
)


class BidDialog(ModalScreen[float | None]):
    """Dollars an hour, or None."""

    AUTO_FOCUS = "#bid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="bid.cancel",
                tooltip="Back to machines on demand"),
    ]  # fmt: skip

    def __init__(self, usual: float) -> None:
        """usual: what is proposed."""
        super().__init__()
        self._usual = usual

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Interruptible machines", "bold"), classes="dialog-title")
            yield Static(Text(_WORDS))
            with Horizontal(classes="bench-row"):
                yield Static(Text("At most"), classes="bench-name")
                yield Input(f"{self._usual:.2f}", type="number", max_length=7, id="bid")
                yield Static(Text("dollars an hour", "dim"), classes="bench-words")
            yield LiveText(id="bid-said", classes="dialog-note")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Show them (Enter)", id="yes", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False

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
        try:
            bid = float(self.query_one(Input).value)
        except ValueError:
            bid = 0.0
        if 0 < bid <= _MOST:
            self.dismiss(bid)
        else:
            self._say(f"a number over 0, {_MOST:.0f} at most")

    def _say(self, words: str) -> None:
        self.query_one("#bid-said", LiveText).say(words or "Nothing is rented by this.")
