"""When what comes in was begun: a double click by its first press, typing by its first letter."""

from __future__ import annotations

from textual.app import App
from textual.events import InputEvent, Key, MouseDown
from textual.widget import Widget

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class _Gesture:
    """since: the time of its first event. last: the one that a next one may follow soon."""

    since: float
    last: Key | MouseDown


class Gestures:
    """Remembers the mouse's last presses and what was typed last, on whatever screen."""

    def __init__(self) -> None:
        self._pressing: _Gesture | None = None
        self._typing: _Gesture | None = None

    def since(self, event: InputEvent, app: App[None]) -> float:
        """The time at which what this event belongs to was begun, by the clock of the events: its
        own where it is not the next one of a double click, nor of what is typed in a line, be it
        that the line is no longer there. Asked once for each event, in their order."""
        if isinstance(event, MouseDown):
            self._pressing = _continued(self._pressing, event, app) or _Gesture(event.time, event)
            return self._pressing.since
        if not isinstance(event, Key):
            return event.time
        goes_on = _continued(self._typing, event, app)
        if app.focused is not None and _takes_text(app.focused):
            # Enter and the like end what is typed.
            begun = goes_on or _Gesture(event.time, event)
            self._typing = begun if event.is_printable else None
        else:
            self._typing = goes_on
        return event.time if goes_on is None else goes_on.since


def _continued(gesture: _Gesture | None, event: Key | MouseDown, app: App[None]) -> _Gesture | None:
    """The same one with this event, if it belongs to it. In a double click a hand may slip."""
    if gesture is None or event.time - gesture.last.time > app.CLICK_CHAIN_TIME_THRESHOLD:
        return None
    if isinstance(event, MouseDown) and isinstance(gesture.last, MouseDown):
        slipped = event.screen_offset - gesture.last.screen_offset
        if abs(slipped.x) > 2 or abs(slipped.y) > 1:
            return None
    return _Gesture(gesture.since, event)


def _takes_text(focused: Widget) -> bool:
    # Not for the first frame: what is imported for it is waited for.
    from textual.widgets import Input, TextArea

    return isinstance(focused, Input | TextArea)
