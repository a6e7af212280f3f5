"""The attempts of a deployment as tabs in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from gdl.domain.attempt_state import AttemptState
from gdl.domain.deployment import DeploymentState
from gdl.domain.phase import Phase
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.tui.widgets.phase_rail import DONE, FAILED, NOW, SKIPPED


class AttemptBar(Static):
    """Hidden while there is only one attempt; a click looks at the one clicked."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"attempt-bar--shown", "attempt-bar--key"}

    class Chosen(Message):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._spans: list[tuple[int, int, int]] = []
        self._said = Text()

    def show(self, state: DeploymentState, shown: AttemptState | None) -> None:
        self.display = len(state.attempts) > 1
        if not self.display or shown is None:
            return
        text, self._spans = Text(no_wrap=True, overflow="ellipsis"), []
        text.append("Attempts ", "bold")
        chosen = self.get_component_rich_style("attempt-bar--shown", partial=True)
        around = _around(state.attempts, shown)
        for attempt, name in zip(around, _names(around, shown, self.size.width - 9), strict=True):
            start = len(text)
            style = chosen if attempt is shown else Style()
            text.append(f" {mark_of(attempt, state)} {attempt.number} {name} ", style)
            self._spans.append((start, len(text), attempt.number))
            text.append(" ")
        hint = "  , . look at each"
        if text.cell_len + len(hint) <= self.size.width:
            text.append(hint, "dim")
        if text != self._said:
            self._said = text
            self.update(text, layout=False)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        for start, end, number in self._spans:
            if start <= event.x - self.styles.padding.left < end:
                self.post_message(self.Chosen(number))


def _around(attempts: tuple[AttemptState, ...], shown: AttemptState) -> tuple[AttemptState, ...]:
    """Three of them, the one that is shown among them."""
    start = min(max(attempts.index(shown) - 1, 0), max(len(attempts) - 3, 0))
    return attempts[start : start + 3]


def _names(around: Sequence[AttemptState], shown: AttemptState, width: int) -> list[str]:
    """Machine and provider of each; the machine alone of those that are not shown, where it is too
    narrow for all. width: cells for the tabs; 0 before they have a size."""
    machines = [plain(gpus(attempt), 14) for attempt in around]
    whole = [
        f"{machine} {plain(attempt.provider, 11)}"
        for machine, attempt in zip(machines, around, strict=True)
    ]
    marked = sum(cell_len(f" ✓ {attempt.number}   ") for attempt in around)
    if not 0 < width < marked - 1 + sum(map(cell_len, whole)):
        return whole
    at = around.index(shown)
    return [*machines[:at], whole[at], *machines[at + 1 :]]


def mark_of(attempt: AttemptState, state: DeploymentState) -> str:
    """How an attempt ended, or that it goes on."""
    last = attempt is state.attempts[-1]
    if attempt.failure is not None or (last and state.phase is Phase.FAILED):
        return FAILED
    if not last or state.phase in (Phase.CANCELLED, Phase.STOPPED):
        return SKIPPED
    return DONE if state.phase is Phase.SERVING else NOW
