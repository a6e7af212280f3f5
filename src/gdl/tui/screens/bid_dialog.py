"""The most to bid for an interruptible machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from gdl.tui.screens.fields_dialog import FieldsDialog, field
from gdl.tui.widgets.typed_line import TypedLine

_MOST = 1000.0
_WORDS = (
    "They cost less, but go to whoever bids more, and everything on them is then lost. Your "
    "bid is a tenth above the machine's minimum, and never more than this per hour, not "
    "counting its disk."
)


class BidDialog(FieldsDialog[float]):
    """Dollars an hour, or None."""

    AUTO_FOCUS = "#bid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="bid.cancel",
                tooltip="Go back to machines on demand"),
    ]  # fmt: skip
    TITLE_WORDS = "Interruptible machines"
    NOTE = "This rents nothing."
    YES = "Show them"

    def __init__(self, usual: float) -> None:
        """usual: what is proposed."""
        super().__init__()
        self._usual = usual

    def fields(self) -> Iterator[Widget]:
        yield Static(Text(f"{_WORDS}\n"))
        line = TypedLine(f"{self._usual:.2f}", type="number", max_length=7, id="bid")
        yield field("At most", line, "dollars per hour")

    def typed(self) -> float:
        wrong = f"a number above 0, at most {_MOST:.0f}"
        try:
            bid = float(self.query_one(Input).value)
        except ValueError:
            raise ValueError(wrong) from None
        if not 0 < bid <= _MOST:
            raise ValueError(wrong)
        return bid
