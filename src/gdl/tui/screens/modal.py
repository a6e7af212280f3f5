"""A window over a screen that works while it is shown."""

from __future__ import annotations

from typing import Any, TypeVar

from textual.await_complete import AwaitComplete
from textual.events import Key
from textual.geometry import Region
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Static
from textual.worker import Worker

from gdl.tui.context import context_of

Result = TypeVar("Result")


class Modal(ModalScreen[Result]):
    """Its workers end before its widgets go, so that none looks for one that is not there; and none
    begins afterwards, by a timer or a message that was on its way."""

    _answered = False

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        self._answered = True
        self.workers.cancel_node(self)
        return super().dismiss(result)

    def run_worker(self, *work: Any, **how: Any) -> Worker[Any]:
        worker = super().run_worker(*work, **how)
        if self._answered:
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
    """Something is spent or destroyed by its answer. It has a Title. A key pressed before that was
    on the screen cannot have been the answer to it: only Esc is taken then."""

    _told = False

    @property
    def drawn_at(self) -> float | None:
        """When the user could read it first, by the clock of the keys; None before."""
        return self.query_one(Title).drawn_at if self.query(Title) else None

    def on_key(self, event: Key) -> None:
        drawn_at = self.drawn_at
        if event.key == "escape" or (drawn_at is not None and event.time >= drawn_at):
            return
        event.stop()
        if not self._told:
            self._told = True
            context_of(self).say("typed before the question: ignored", severity="warning")
