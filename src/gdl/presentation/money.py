"""Prices beside others. Amounts are `gdl.domain.money.dollars`."""

from __future__ import annotations

from gdl.domain.money import dollars, hourly


def in_cell(amount: float) -> str:
    """An amount of dollars for a column of seven: less than a tenth of a cent is "<$0.001"."""
    return "<$0.001" if 0 < amount < 0.000995 else dollars(amount)


def charge(amount: float, *, final: bool) -> str:
    """What a market charged: "$0.62", "$0.62 so far" as long as more may come."""
    return dollars(amount) if final else f"{dollars(amount)} so far"


def interruptible_words(bid: float | None) -> str:
    """What the prices of interruptible machines are, and what becomes of the machines."""
    shown = "prices are the minimum bids" if bid is None else f"the bid is at most {hourly(bid)}"
    return f"interruptible machines, which can be lost to a higher bid: {shown}"
