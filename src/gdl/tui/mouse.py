"""Windows by the mouse alone: a click on a line that names keys presses the one that is clicked,
and a click beside a window leaves it, as Escape does, unless something is typed there."""

from __future__ import annotations

from collections.abc import Container

from textual.events import Click
from textual.screen import ModalScreen, Screen, SystemModalScreen
from textual.widgets import Input

_KEYS = {"esc": "escape", "+": "plus", "-": "minus"}
"""As Textual calls them; others are called as they are written."""
_BETWEEN = " · "
_MOST_WORDS = 7
"""Of what a key does; a sentence has more, and may begin with one letter."""


def key_at(line: str, x: int, keys: Container[str]) -> str | None:
    """The key that is named at cell `x` of a line such as "r refreshes · Esc closes"; None where
    none is, or none of `keys`."""
    start = 0
    for phrase in line.split(_BETWEEN):
        end = start + len(phrase)
        words = phrase.split()
        if start <= x < end and 2 <= len(words) <= _MOST_WORDS:
            name = words[0].lower() if len(words[0]) > 1 else words[0]
            key = _KEYS.get(name, name)
            return key if key in keys else None
        start = end + len(_BETWEEN)
    return None


def key_clicked(screen: Screen[object], event: Click) -> str | None:
    """The key that a click in a window, or beside it, stands for."""
    widget = event.widget
    if not isinstance(screen, ModalScreen) or isinstance(screen, SystemModalScreen):
        return None
    if widget is screen:
        leaves = "escape" in screen.active_bindings and not screen.query(Input)
        return "escape" if leaves else None
    if widget is None or not widget.has_class("dialog-note"):
        return None
    return key_at(widget.render_line(event.y).text, event.x, screen.active_bindings)
