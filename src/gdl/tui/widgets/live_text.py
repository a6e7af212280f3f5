"""Text that is repainted only when it has changed."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static


class LiveText(Static):
    """A static text for views that are drawn again and again. Never reads markup. What is not to
    wrap ends in an ellipsis where it is cut."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._said = Text()

    def say(self, text: Text | str) -> None:
        """Show this, if it is not what is shown already."""
        words = Text(text) if isinstance(text, str) else text
        if words != self._said or words.style != self._said.style:
            before, self._said = self._said, words
            keep_lines(self, words)
            self.update(words, layout=not self._fits_as(before, words))

    def say_if_any(self, text: Text | str) -> None:
        """Show this; give up the place while there is nothing to say."""
        self.display = bool(text)
        self.say(text)

    def _fits_as(self, before: Text, after: Text) -> bool:
        """Whether both have as many rows, and the longest of one length, so that nothing around
        has to move."""
        old, new = before.plain.split("\n"), after.plain.split("\n")
        if len(old) != len(new):
            return False
        longest = max(map(cell_len, new))
        return max(map(cell_len, old)) == longest <= self.size.width


def keep_lines(shown: Static, words: Text) -> None:
    """Wrap and cut as this text asks for: Textual takes the words and styles of it alone."""
    if (shown.styles.text_wrap == "nowrap") != bool(words.no_wrap):
        shown.styles.text_wrap = "nowrap" if words.no_wrap else "wrap"
        shown.styles.text_overflow = "ellipsis" if words.no_wrap else "fold"
