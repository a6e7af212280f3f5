"""Text that is repainted only when it has changed."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class Words(Static):
    """A static text for views that are drawn again and again. Never reads markup."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._said = Text()

    def say(self, text: Text | str) -> None:
        """Show this, if it is not what is shown already."""
        words = Text(text) if isinstance(text, str) else text
        if words != self._said or words.style != self._said.style:
            self._said = words
            self.update(words)
