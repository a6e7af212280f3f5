"""What is scrolled with the keys of a pager."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll


class Scroll(VerticalScroll):
    """Scrolls with the keys of a pager, too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="scroll.down",
                tooltip="One line down"),
        Binding("k", "scroll_up", "Up", show=False, id="scroll.up",
                tooltip="One line up"),
        Binding("g", "scroll_home", "Top", show=False, id="scroll.top",
                tooltip="Go to the beginning"),
        Binding("G", "scroll_end", "Bottom", show=False, id="scroll.bottom",
                tooltip="Go to the end"),
    ]  # fmt: skip
