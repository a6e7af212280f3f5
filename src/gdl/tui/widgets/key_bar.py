"""The keys that work now, in one line that always fits."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.widgets import Static

from gdl.domain.lazy_dataclass import dataclass

_ALWAYS = ("help", "quit", "command_palette")
"""Kept at any width, at the end; the others are hidden from the right when it is narrow."""
_NAMES = {"command_palette": "Palette", "screen.maximize": "Restore"}
"""Shorter than in the palette, or what the key does whenever it is shown."""


@dataclass(frozen=True, slots=True)
class ShownKey:
    key: str
    display: str
    name: str
    enabled: bool

    @property
    def width(self) -> int:
        return len(self.display) + len(self.name) + 3


class KeyBar(Static):
    """One widget for all keys, as bindings change often; a click presses the key."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key", "key-bar--off"}

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._spans: list[tuple[int, int, str]] = []
        self._said, self._drawn_width = Text(), 0

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._show()

    def on_resize(self, _event: events.Resize) -> None:
        self._show()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_attached and self.size.width:
            self._drawn_width = 0  # other colours: draw it in any case
            self.call_later(self._show)  # once those of the keys are there, too

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self._show()

    def _show(self) -> None:
        """Draw the keys that fit."""
        width = self.size.width
        if width <= 0:
            return
        text, self._spans = Text(no_wrap=True), []
        key_style = self.get_component_rich_style("key-bar--key")
        off_style = self.get_component_rich_style("key-bar--off")
        for key in fitting(*self._keys(), width):
            start = len(text)
            style = key_style if key.enabled else off_style
            text.append(f" {key.display}", style)
            text.append(f" {key.name} ", Style() if key.enabled else off_style)
            self._spans.append((start, len(text), key.key))
        if text != self._said or width != self._drawn_width:
            self._said, self._drawn_width = text, width
            self.update(text, layout=False)

    def _keys(self) -> tuple[list[ShownKey], list[ShownKey]]:
        """(those of the screen and its widgets, those that are always there)."""
        here: dict[str, ShownKey] = {}
        always: dict[str, ShownKey] = {}
        maximized = self.screen.maximized is not None
        for _node, binding, enabled, _tooltip in self.screen.active_bindings.values():
            kept = binding.action in _ALWAYS
            name = _NAMES.get(binding.action, binding.description)
            group = always if kept else here
            back = maximized and binding.action == "screen.maximize"
            if not (binding.show or kept or back) or not name:
                continue
            display = self.app.get_key_display(binding)
            known = group.get(binding.action)
            if known is None or len(display) < len(known.display):
                group[binding.action] = ShownKey(binding.key, display, name, enabled)
        if (back_key := here.pop("screen.maximize", None)) is not None:
            here = {"": back_key, **here}
        return list(here.values()), [always[action] for action in _ALWAYS if action in always]

    def on_click(self, event: events.Click) -> None:
        event.stop()
        for start, end, key in self._spans:
            if start <= event.x < end:
                self.app.simulate_key(key)


def fitting(here: list[ShownKey], always: list[ShownKey], width: int) -> list[ShownKey]:
    """As many of `here` as fit into `width` cells beside all of `always`."""
    left = width - sum(key.width for key in always)
    shown = []
    for key in here:
        left -= key.width
        if left < 0:
            break
        shown.append(key)
    return [*shown, *always]
