"""A window over a screen that works while it is shown."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.events import InputEvent, Key, MouseDown
from textual.geometry import Region
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker

from gdl.tui.context import context_of

Result = TypeVar("Result")


class Modal(ModalScreen[Result]):
    """Every window is one. Its workers end before its widgets go, so that none looks for one that
    is not there; and none begins afterwards, by a timer or a message that was on its way."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # The keys of the application end at a window; only F1 works in all of them.
        Binding("question_mark", "app.help", "Help", show=False, id="window.help",
                tooltip="The keys that work here"),
    ]  # fmt: skip

    _going: AwaitComplete | None = None

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Once, however often it is answered: Enter held down closes no window below it. What was
        opened over it, such as the help, goes first."""
        if self._going is not None:
            return self._going
        self.workers.cancel_node(self)
        while self.app.screen is not self and self in self.app.screen_stack:
            self.app.screen.dismiss()
        self._going = super().dismiss(result)
        return self._going

    def run_worker(self, *work: Any, **how: Any) -> Worker[Any]:
        worker = super().run_worker(*work, **how)
        if self._going is not None:
            worker.cancel()
        return worker


class LastInput:
    """The mouse's last press, and the last character typed in a line, on whatever screen."""

    def __init__(self) -> None:
        self._press: MouseDown | None = None
        self._typed: Key | None = None

    def take(self, event: InputEvent, focused: Widget | None) -> Key | MouseDown | None:
        """Note it, if it is one of them; what was noted before, of its kind."""
        if isinstance(event, MouseDown):
            press, self._press = self._press, event
            return press
        if not isinstance(event, Key):
            return None
        typed = self._typed
        in_line = focused is not None and event.is_printable and _takes_text(focused)
        self._typed = event if in_line else None  # Enter and the like end what is typed
        return typed


def _takes_text(focused: Widget) -> bool:
    # Not for the first frame: what is imported for it is waited for.
    from textual.widgets import Input, TextArea

    return isinstance(focused, Input | TextArea)


class Title(Static):
    """What a question is about. It says when it was drawn first."""

    drawn_at: float | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        lines = super().render_lines(crop)
        if self.drawn_at is None:
            self.drawn_at = Message().time  # by the clock of the keys
        return lines


class Question(Modal[Result]):
    """Something is spent or destroyed by its answer. It has a Title. What came before that was on
    the screen cannot have been the answer to it: only Esc is taken then. Nor can what somebody goes
    on typing who typed in a line when it came up, nor the rest of a double click whose first half
    was on what the question came from."""

    _told = False
    _unmeant: MouseDown | None = None
    _typed: Key | None = None

    def on_mount(self) -> None:
        # What was said before would hide what is asked; no error is taken away for that.
        below = self.app.screen_stack
        if not any(screen.query("Toast.-error") for screen in below):
            self.app.clear_notifications()
            for screen in below:
                screen.query("Toast").remove()

    @property
    def drawn_at(self) -> float | None:
        """When the user could read it first, by the clock of the input; None before."""
        return self.query_one(Title).drawn_at if self.query(Title) else None

    def is_answered_by(self, event: InputEvent, before: Key | MouseDown | None) -> bool:
        """Whether this can be meant for it. before: as of a LastInput. Only keys and presses
        answer; the wheel, and a button let go, do not."""
        if not isinstance(event, Key | MouseDown) or getattr(event, "key", "") == "escape":
            return True
        drawn_at = self.drawn_at
        meant = drawn_at is not None and event.time >= drawn_at
        if isinstance(event, Key):
            last = self._typed or before
            earlier = last is not None and (
                last is self._typed or last.time < (drawn_at or math.inf)
            )
            if last is not None and earlier and self._soon(last, event):
                self._typed, meant = event, False  # who types in a line has not looked up
            return meant
        if isinstance(before, MouseDown) and self._repeats(before, event):
            meant = meant and before is not self._unmeant and before.time >= (drawn_at or 0)
        if not meant:
            self._unmeant = event
        return meant

    def _soon(self, before: InputEvent, event: InputEvent) -> bool:
        return event.time - before.time <= self.app.CLICK_CHAIN_TIME_THRESHOLD

    def _repeats(self, press: MouseDown, again: MouseDown) -> bool:
        """Whether they are of one double click, in which a hand may slip."""
        slipped = again.screen_offset - press.screen_offset
        return self._soon(press, again) and abs(slipped.x) <= 2 and abs(slipped.y) <= 1

    def tell_ignored(self, event: InputEvent) -> None:
        """Of keys, and once. Who clicked sees what came up, and a toast would hide the buttons."""
        if isinstance(event, Key) and not self._told:
            self._told = True
            context_of(self).say("typed before the question: ignored", severity="warning")
