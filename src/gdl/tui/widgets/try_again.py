"""The way back from a failure, for the mouse."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button


class TryAgain(Horizontal):
    """A button that does what its key does, which is why Tab passes it by."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False

    def compose(self) -> ComposeResult:
        button = Button("Try again (r)", variant="primary", compact=True)
        button.can_focus = False
        yield button
