"""A number chosen from steps, with the keys or the mouse."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget


class Slider(Widget, can_focus=True):
    """Any value can be shown; keys and mouse go to the steps."""

    class Changed(Message):
        """The user has chosen another value."""

        def __init__(self, slider: Slider, value: int) -> None:
            super().__init__()
            self.slider, self.value = slider, value

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,plus", "step(1)", "More", id="slider.more", tooltip="One step up"),
        Binding("left,minus", "step(-1)", "Less", id="slider.less", tooltip="One step down"),
        Binding("home", "step(-100)", "Least", show=False, id="slider.least",
                tooltip="The minimum"),
        Binding("end", "step(100)", "Most", show=False, id="slider.most",
                tooltip="The maximum"),
        Binding("enter", "screen.take", "Done", show=False, id="slider.done",
                tooltip="Accept everything as shown"),
    ]  # fmt: skip

    def __init__(self, steps: Sequence[int], value: int, *, id: str) -> None:
        """steps: rising, two at least."""
        super().__init__(id=id)
        self._steps, self._limit, self.value = tuple(steps), 0, value
        self._held = False

    @property
    def steps(self) -> tuple[int, ...]:
        """Those up to the limit, which is the last one itself."""
        if not self._limit:
            return self._steps
        below = [step for step in self._steps if step < self._limit]
        return (*below, self._limit) if below else (self._limit, self._limit + 1)

    def show(self, value: int, *, limit: int = 0) -> None:
        """Without a message. limit: the most that can be chosen; 0: what the steps say."""
        if (value, limit) != (self.value, self._limit):
            self.value, self._limit = value, limit
            self.refresh()

    def render(self) -> Text:
        width = max(self.size.width - 1, 1)
        at = round(self._share() * width)
        return Text.assemble(
            ("━" * at, "bold"), ("●", "bold"), ("─" * (width - at), "dim"), no_wrap=True
        )

    def _share(self) -> float:
        """How far along the steps the value is, 0-1."""
        steps = self.steps
        at = bisect_left(steps, self.value)
        if at >= len(steps):
            return 1.0
        if at and steps[at] != self.value:
            low, high = steps[at - 1], steps[at]
            return (at - 1 + (self.value - low) / (high - low)) / (len(steps) - 1)
        return at / (len(steps) - 1)

    def action_step(self, by: int) -> None:
        steps = self.steps
        at = bisect_left(steps, self.value)
        if at < len(steps) and steps[at] != self.value and by > 0:
            at -= 1  # between two steps: the upper one is next
        self._choose(steps[min(max(at + by, 0), len(steps) - 1)])

    def _choose(self, value: int) -> None:
        if value != self.value:
            self.value = value
            self.refresh()
            self.post_message(self.Changed(self, value))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._held = True
        self.capture_mouse()
        self._point(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._held:
            self._point(event)

    def on_mouse_up(self) -> None:
        self._held = False
        self.release_mouse()

    def _point(self, event: events.MouseEvent) -> None:
        event.stop()
        share = min(max(event.x / max(self.size.width - 1, 1), 0.0), 1.0)
        self._choose(self.steps[round(share * (len(self.steps) - 1))])
