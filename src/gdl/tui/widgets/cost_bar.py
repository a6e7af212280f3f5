"""What costs money now, above the keys of every screen."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from gdl.domain.money import dollars, hourly
from gdl.presentation.durations import hours_left
from gdl.tui.widgets.live_text import LiveText

if TYPE_CHECKING:
    from gdl.tui.store import Bill


class CostBar(LiveText):
    """In view while any machine costs money; hidden otherwise."""

    def show(self, bills: list[Bill], now: datetime) -> None:
        self.display = bool(bills)
        if bills:
            self.set_class(not all(bill.certain for bill in bills), "-unsure")
            self.say(cost_line(bills, now))


def cost_line(bills: list[Bill], now: datetime) -> Text:
    """ "Still billing: $0.131/h, $0.04 so far, ends in 0h47"."""
    sure = all(bill.certain for bill in bills)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("$ Still billing" if sure else "! May still be billing", "bold")
    if len(bills) > 1:
        text.append(f" {len(bills)} machines")
    per_hour = sum(bill.price_per_hour for bill in bills)
    spent = sum(bill.cost for bill in bills)
    limit = bills[0].limit if len(bills) == 1 else None
    so_far = "so far" if limit is None else f"of at most {dollars(limit)}"
    text.append(f": {hourly(per_hour)}, {dollars(spent)} {so_far}")
    ends = [bill.expires_at for bill in bills if bill.expires_at is not None]
    if ends:
        what = "ends in" if len(bills) == 1 else "the first ends in"
        text.append(f", {what} {hours_left(min(ends), now)}")
    return text
