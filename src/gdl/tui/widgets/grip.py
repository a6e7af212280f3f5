"""A border that the mouse can take hold of."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual import events
from textual.geometry import Offset
from textual.message import Message
from textual.widget import Widget


class Grip(Widget):
    """Mixed into a widget whose `EDGE`, or the whole of it, stands between two panes: dragging that
    says where to."""

    ALLOW_SELECT = False
    EDGE: ClassVar[Literal["right", "top", "whole"]] = "top"

    class Dragged(Message):
        """The border was moved. at: where the first line of what is below it, or the last column of
        what is left of it, is to be, in cells from the corner of the screen; last: the mouse has
        let it go."""

        def __init__(self, at: Offset, *, last: bool) -> None:
            super().__init__()
            self.at, self.last = at, last

    _held = False

    def on_mouse_down(self, event: events.MouseDown) -> None:
        at_edge = {
            "right": event.x == self.outer_size.width - 1,
            "top": event.y == 0,
            "whole": True,
        }[self.EDGE]
        if event.button == 1 and at_edge:
            event.stop()
            self._held = True
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._held:
            event.stop()
            self._say(event, last=False)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._held:
            event.stop()
            self.release_mouse()
            self._say(event, last=True)

    def on_mouse_release(self, _event: events.MouseRelease) -> None:
        self._held = False

    def _say(self, event: events.MouseEvent, *, last: bool) -> None:
        below = Offset(0, 1) if self.EDGE == "whole" else Offset()
        self.post_message(self.Dragged(event.screen_offset + below, last=last))
