"""A window over a screen that works while it is shown."""

from __future__ import annotations

from typing import Any, TypeVar

from textual.await_complete import AwaitComplete
from textual.events import Key
from textual.message import Message
from textual.screen import ModalScreen
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


class Question(Modal[Result]):
    """Something is spent or destroyed by its answer. A key pressed before it was on the screen
    cannot have been the answer to it: only Esc is taken then."""

    _drawn_at: float | None = None
    _told = False

    @property
    def drawn(self) -> bool:
        """The user can have read it."""
        return self._drawn_at is not None

    def on_screen_resume(self) -> None:
        if not self.drawn:
            self.call_after_refresh(self._now_drawn)

    def _now_drawn(self) -> None:
        self._drawn_at = Message().time  # by the clock of the keys

    def on_key(self, event: Key) -> None:
        if event.key == "escape" or (self._drawn_at is not None and event.time >= self._drawn_at):
            return
        event.stop()
        if not self._told:
            self._told = True
            context_of(self).say("typed before the question: ignored", severity="warning")
