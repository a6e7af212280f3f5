"""A letter on everything that can have the focus: the letter goes there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.errors import NoWidget
from textual.geometry import Offset, Region, Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static, Tab, TabbedContent, TabPane, Tabs

from gdl.domain.lazy_dataclass import dataclass
from gdl.tui.context import context_of
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.top_bar import ScreenTab

_LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""Those under the fingers first."""
_DIGITS = "12345"
_CELLS = 3
"""Of a label: the letter between two spaces."""


@dataclass(frozen=True, slots=True)
class Target:
    """key: what is pressed; at: where its label is drawn; go: goes there."""

    key: str
    at: Offset
    go: Callable[[], None]


def targets(screen: Screen[Any]) -> list[Target]:
    """What can be gone to on this screen, from the top left; screens keep their digits."""
    found = sorted(_places(screen), key=lambda place: (place[0].y, place[0].x))
    letters = iter(_LETTERS)
    made = []
    for region, key, go in found:
        key = key or next(letters, "")
        if key:
            x = min(region.x, screen.app.size.width - _CELLS)
            made.append(Target(key, Offset(max(x, 0), region.y), go))
    return made


def _places(screen: Screen[Any]) -> Iterator[tuple[Region, str, Callable[[], None]]]:
    """(where it is seen, its key if it has one, what goes there)."""
    for tab in screen.query(ScreenTab):
        if seen := _seen(screen, tab):
            yield seen, tab.key, _shower(screen, tab.mode)
    for widget in screen.focus_chain:
        if isinstance(widget, Tabs):
            for each in widget.query(Tab):
                if seen := _seen(screen, each):
                    yield seen, "", _opener(screen, each)
        elif seen := _seen(screen, widget):
            yield seen, "", _focuser(screen, widget)


def _seen(screen: Screen[Any], widget: Widget) -> Region | None:
    try:
        region = screen.find_widget(widget).visible_region
    except NoWidget:
        return None
    return region if region.area else None


def _shower(screen: Screen[Any], mode: str) -> Callable[[], None]:
    return lambda: context_of(screen).action_show(mode)


def _focuser(screen: Screen[Any], widget: Widget) -> Callable[[], None]:
    def go() -> None:
        if widget.is_attached and widget.focusable:
            screen.set_focus(widget)

    return go


def _opener(screen: Screen[Any], tab: Tab) -> Callable[[], None]:
    """Opens the tab, and goes to what is behind it."""

    def go() -> None:
        try:
            tabbed = tab.query_ancestor(TabbedContent)
        except NoMatches:
            return
        for pane in tabbed.query(TabPane):
            if tabbed.get_tab(pane) is tab:
                tabbed.active = pane.id or ""
                screen.call_after_refresh(enter, pane)

    def enter(pane: TabPane) -> None:
        if inside := next((each for each in pane.query("*") if each.focusable), None):
            screen.set_focus(inside)

    return go


class Label(Static):
    """The letter of a target; a click goes there, too."""

    ALLOW_SELECT = False

    def __init__(self, target: Target) -> None:
        super().__init__(Text(f" {target.key} "), classes="jump-label")
        self._key = target.key
        self.styles.offset = target.at.x, target.at.y

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if isinstance(self.screen, JumpScreen):
            self.screen.action_go(self._key)


class JumpScreen(Modal[None]):
    """Over the screen that it is about. What is typed there stays as it is. Its keys come before
    all others, so that what is typed after the letter is typed there already."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave", priority=True, id="jump.leave",
                tooltip="Stay where you were"),
        *(Binding(key, f"go({key!r})", f"Go to {key}", show=False, priority=True, system=True,
                  id=f"jump.{key}", tooltip="Go where this is written")
          for key in _LETTERS + _DIGITS),
    ]  # fmt: skip

    def __init__(self, found: Sequence[Target]) -> None:
        super().__init__()
        self._targets = {target.key: target for target in found}
        self._at_first: Size | None = None

    def compose(self) -> ComposeResult:
        for target in self._targets.values():
            yield Label(target)
        yield Static("a letter goes there · Esc leaves", classes="dialog-note", id="jump-note")

    def on_resize(self, event: events.Resize) -> None:
        """The letters are somewhere else now."""
        if self._at_first is None:
            self._at_first = event.size
        elif event.size != self._at_first and self.is_current:
            self.dismiss()

    def action_go(self, key: str) -> None:
        if (target := self._targets.get(key)) is not None:
            self.dismiss()
            target.go()
