"""All about the row under the cursor, below the table."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from gdl.tui.widgets.fields import Fields, two_columns
from gdl.tui.widgets.scroll import Scroll


class DetailsPane(Scroll):
    """Hidden until it is asked for."""

    ALLOW_MAXIMIZE = True

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def compose(self) -> ComposeResult:
        yield Static(id="offer-details")

    def show(self, fields: Fields) -> None:
        self.query_one(Static).update(two_columns(fields))
