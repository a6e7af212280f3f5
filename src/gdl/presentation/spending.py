"""What was spent, in words that command line and terminal UI share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gdl.domain.money import Balance, dollars, hourly
from gdl.domain.spending import Cap, SpendingReport, SpendingRow
from gdl.domain.volumes import Volume
from gdl.presentation.durations import since

_NOW = {"day": "today", "month": "this month"}


def cells(row: SpendingRow) -> tuple[str, str, str, str, str]:
    """Period, backend, spent, charged, difference."""
    charged = "-" if row.charged is None else dollars(row.charged)
    return row.period, row.backend, dollars(row.spent), charged, signed(row.difference)


def signed(amount: float | None) -> str:
    """ "+$0.12", "-$0.03"; "-" for None, "$0.00" for less than half a cent."""
    if amount is None:
        return "-"
    if abs(amount) < 0.005:
        return "$0.00"
    return f"+{dollars(amount)}" if amount > 0 else dollars(amount)


def cap_line(cap: Cap) -> str:
    """ "$1.20 of $5.00 today, $0.40/h now"."""
    rate = f", {hourly(cap.per_hour)} now" if cap.per_hour > 0 else ""
    return f"{dollars(cap.spent)} of {dollars(cap.limit)} {_NOW[cap.period]}{rate}"


def balance_line(name: str, balance: Balance, per_hour: float, hours: int) -> tuple[str, bool]:
    """What an account has left, and whether it is too little for so many hours at that price:
    "vastai has $3.10 left", "! vastai has $0.30 left: 45 min of it"."""
    text = _left(name, balance)
    if per_hour * hours <= balance.credit:
        return text, False
    return f"! {text}: {since(max(balance.credit, 0.0) / per_hour * 3600)} of it", True


def _left(name: str, balance: Balance) -> str:
    return f"{name} has {dollars(balance.credit)} left"


def volume_line(volume: Volume, used_by: Sequence[str]) -> str:
    """What a volume costs, and whether anybody uses it: "volume cache: 50 GB at vastai, $0.010/h,
    used by nobody"."""
    users = ", ".join(used_by) or "nobody"
    size = f"{volume.size_gb:.0f} GB at {volume.backend}"
    return f"volume {volume.name}: {size}, {hourly(volume.price_per_hour)}, used by {users}"


def totals(report: SpendingReport, *, caps: bool = True) -> Iterator[str]:
    """What stands below the rows: sums, caps (unless told elsewhere), balances, and whose days
    these are."""
    if report.rows:
        told = "" if report.charged is None else dollars(report.charged)
        charged = f"; marketplaces report {told}, perhaps not all yet" if told else ""
        yield f"{dollars(report.spent)} in all, by our own clock{charged}"
    for cap in report.caps if caps else ():
        yield f"{cap_line(cap)} (spending.per_{cap.period})"
    for name, balance in report.balances.items():
        yield _left(name, balance)
    yield f"{report.by.capitalize()}s are in local time ({report.zone})"
