"""A window over a screen that works while it is shown."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

Result = TypeVar("Result")


class Modal(ModalScreen[Result]):
    """Its workers end before its widgets go, so that none looks for one that is not there."""

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        self.workers.cancel_node(self)
        return super().dismiss(result)
