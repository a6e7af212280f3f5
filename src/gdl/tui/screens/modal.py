"""A window over a screen that works while it is shown."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.events import InputEvent, Key, MouseDown
from textual.geometry import Region
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
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


class Title(Static):
    """What a question is about. It says when it was drawn first."""

    drawn_at: float | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        lines = super().render_lines(crop)
        if self.drawn_at is None:
            self.drawn_at = Message().time  # by the clock of the keys
        return lines


class Question(Modal[Result]):
    """Something is spent or destroyed by its answer. It has a Title. What was begun before that was
    on the screen cannot be the answer to it, such as a double click or what is typed in a line:
    only Esc is taken then."""

    _told = False

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

    def is_answered_by(self, event: InputEvent, since: float) -> bool:
        """Whether this can be meant for it. since: when what it belongs to was begun, as of
        Gestures. Only keys and presses answer; the wheel, and a button let go, do not."""
        if not isinstance(event, Key | MouseDown) or getattr(event, "key", "") == "escape":
            return True
        return self.drawn_at is not None and since >= self.drawn_at

    def tell_ignored(self, event: InputEvent) -> None:
        """Of keys, and once. Who clicked sees what came up, and a toast would hide the buttons."""
        if isinstance(event, Key) and not self._told:
            self._told = True
            context_of(self).say("typed before the question: ignored", severity="warning")
