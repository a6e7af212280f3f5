"""What frames every screen: the bar of screens on top, the cost bar above the keys."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from gdl.domain.money import dollars
from gdl.presentation.durations import hours_left
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly
from gdl.tui.screen_registry import MAIN_SCREENS, ScreenEntry
from gdl.tui.widgets.words import Words

if TYPE_CHECKING:
    from gdl.tui.store import Bill


class NavItem(Static):
    """The name of a screen; a click goes there."""

    ALLOW_SELECT = False

    def __init__(self, entry: ScreenEntry, *, active: bool) -> None:
        super().__init__(Text(f" {entry.key} {entry.title} "), classes="-active" if active else "")
        self.mode = entry.name

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action(f"show({self.mode!r})")


class TopBar(Horizontal):
    """Screens on the left, backend and read-only notice on the right."""

    def __init__(self, mode: str, backend: str, *, read_only: bool) -> None:
        super().__init__()
        self._mode, self._backend, self._read_only = mode, backend, read_only

    def compose(self) -> ComposeResult:
        for entry in MAIN_SCREENS:
            yield NavItem(entry, active=entry.name == self._mode)
        text = Text(no_wrap=True, overflow="ellipsis", justify="right")
        if self._read_only:
            text.append("read-only", "bold")
            text.append(" · ")
        text.append(plain(self._backend, 20))
        yield Static(text, id="where")


class CostBar(Words):
    """In view while any machine costs money; hidden otherwise."""

    def show(self, bills: list[Bill], now: datetime) -> None:
        self.display = bool(bills)
        if bills:
            self.set_class(not all(bill.certain for bill in bills), "-unsure")
            self.say(cost_line(bills, now))


def cost_line(bills: list[Bill], now: datetime) -> Text:
    """ "Still billing: $0.131/h, $0.04 so far, ends in 0:47"."""
    sure = all(bill.certain for bill in bills)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("$ Still billing" if sure else "! May still be billing", "bold")
    if len(bills) > 1:
        text.append(f" {len(bills)} machines")
    per_hour = sum(bill.price_per_hour for bill in bills)
    spent = sum(bill.cost for bill in bills)
    text.append(f": {hourly(per_hour)}, {dollars(spent)} so far")
    ends = [bill.expires_at for bill in bills if bill.expires_at is not None]
    if ends:
        what = "ends in" if len(bills) == 1 else "the first ends in"
        text.append(f", {what} {hours_left(min(ends), now)}")
    return text
