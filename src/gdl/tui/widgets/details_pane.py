"""All about the row under the cursor, below the table."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from gdl.tui.widgets.fields import Fields, two_columns
from gdl.tui.widgets.grip import Grip
from gdl.tui.widgets.scroll import Scroll


class DetailsPane(Scroll, Grip):
    """Hidden until it is asked for."""

    ALLOW_MAXIMIZE = True
    ALLOW_SELECT = False  # of the border: what it holds is another widget

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def compose(self) -> ComposeResult:
        yield Static(id="offer-details")

    def show(self, fields: Fields) -> None:
        self.query_one(Static).update(two_columns(fields))
