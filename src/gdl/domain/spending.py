"""What was spent in each day or month, and what may be. Days are those of a time zone: local time
where none is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.ledger import LedgerAccount, LedgerEntry, accounts
from gdl.domain.money import Balance, Charge
from gdl.domain.volumes import VolumeRecord

Period = Literal["day", "month"]
PERIODS: tuple[Period, ...] = ("day", "month")


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars that `backend` took, evenly from `since` to `until`."""

    backend: str
    since: datetime
    until: datetime
    amount: float


@dataclass(frozen=True, slots=True)
class SpendingRow:
    """One backend in one period. period: such as 2026-11-28 or 2026-11. spent: dollars by our own
    clock and the prices that were agreed to. charged: by the marketplace's own account; None where
    it does not tell, or was not asked."""

    period: str
    backend: str
    spent: float
    charged: float | None = None

    @property
    def difference(self) -> float | None:
        """Dollars that the marketplace charged beyond our own count."""
        return None if self.charged is None else self.charged - self.spent


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent in the present day or month. limit, spent: dollars. per_hour: what
    everything that is billing costs. resets_at: when the next period begins."""

    period: Period
    limit: float
    spent: float
    per_hour: float
    resets_at: datetime

    def left_s(self, now: datetime) -> float | None:
        """Seconds until it is reached, 0 or less when it is; None when that does not come before
        the next period."""
        left = self.limit - self.spent
        if left <= 0:
            return 0.0
        if self.per_hour <= 0:
            return None
        seconds = left / self.per_hour * 3600
        return seconds if seconds < (self.resets_at - now).total_seconds() else None


@dataclass(frozen=True, slots=True)
class SpendingReport:
    """rows: newest period first. zone: by whose time the days begin, such as "CET, UTC+01:00".
    in_doubt: sessions or requests of which nobody knows whether they cost. silent: backends that
    were asked for their charges and did not answer, with the reason."""

    by: Period
    zone: str
    rows: tuple[SpendingRow, ...]
    caps: tuple[Cap, ...] = ()
    in_doubt: tuple[str, ...] = ()
    balances: dict[str, Balance] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def spent(self) -> float:
        return sum(row.spent for row in self.rows)

    @property
    def charged(self) -> float | None:
        """Dollars, of those that tell; None when none does."""
        told = [row.charged for row in self.rows if row.charged is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True)
class Tally:
    """All that the journal knows to have cost. accounts: of the sessions. per_hour: dollars an hour
    of what goes on costing."""

    accounts: tuple[LedgerAccount, ...]
    costs: tuple[Cost, ...]
    per_hour: float


def tally(
    entries: Iterable[LedgerEntry],
    volumes: Iterable[VolumeRecord],
    now: datetime,
    *,
    simulated: bool,
) -> Tally:
    """Sessions and volumes. simulated: those that cost nothing, whatever their price, and nothing
    else; False: all others."""
    told = tuple(one for one in accounts(entries, now) if one.simulated is simulated)
    kept = [one for one in volumes if one.volume_id is not None and not simulated]
    idle = (Cost(v.backend, v.requested_at, v.gone_at or now, v.cost(now)) for v in kept)
    rate = per_hour(told) + sum(v.price_per_hour for v in kept if v.open)
    return Tally(told, (*costs_of(told, now), *idle), rate)


def costs_of(accounts: Iterable[LedgerAccount], now: datetime) -> list[Cost]:
    """What the sessions of the ledger cost so far. Those of which nobody knows are not among
    them."""
    return [
        Cost(account.entries[0].backend, account.since, account.until or now, account.cost)
        for account in accounts
        if account.since is not None and account.cost
    ]


def charged_costs(backend: str, charges: Iterable[Charge], now: datetime) -> list[Cost]:
    """What a marketplace charged until now: its days and hours need not be over."""
    return [
        Cost(backend, one.since, max(min(one.until, now), one.since), one.amount) for one in charges
    ]


def per_hour(accounts: Iterable[LedgerAccount]) -> float:
    """Dollars an hour of all that is billing, or may be."""
    return sum(one.price for one in accounts if one.since is not None and one.until is None)


def spending_rows(
    spent: Iterable[Cost],
    charged: Iterable[Cost],
    telling: Iterable[str],
    by: Period,
    *,
    zone: tzinfo | None = None,
) -> list[SpendingRow]:
    """Newest period first, then by backend. telling: backends whose charges are known, so that
    none in a period means nothing."""
    ours, theirs, told = _by_period(spent, by, zone), _by_period(charged, by, zone), set(telling)
    keys = sorted({*ours, *theirs}, key=lambda key: key[1])
    keys.sort(key=lambda key: key[0], reverse=True)
    return [
        SpendingRow(
            period,
            backend,
            round(ours.get((period, backend), 0.0), 6),
            round(theirs.get((period, backend), 0.0), 6) if backend in told else None,
        )
        for period, backend in keys
    ]


def spent_within(costs: Iterable[Cost], since: datetime, until: datetime) -> float:
    """Dollars that fall between the two."""
    return sum(_share(cost, since, until) for cost in costs)


def period_of(at: datetime, by: Period, zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """When the day or month around a moment begins and ends, in UTC."""
    first = _first_day(at.astimezone(zone).date(), by)
    return _midnight(first, zone), _midnight(_next(first, by), zone)


def zone_words(now: datetime) -> str:
    """This computer's time zone: "CET, UTC+01:00"."""
    local = now.astimezone()
    name, offset = local.tzname() or "", f"{local:%z}"
    return name if name == "UTC" else f"{name}, UTC{offset[:3]}:{offset[3:5]}"


def _by_period(
    costs: Iterable[Cost], by: Period, zone: tzinfo | None
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for cost in costs:
        for first in _periods(cost, by, zone):
            key = f"{first:%Y-%m-%d}" if by == "day" else f"{first:%Y-%m}"
            share = _share(cost, _midnight(first, zone), _midnight(_next(first, by), zone))
            if share:
                found[key, cost.backend] = found.get((key, cost.backend), 0.0) + share
    return found


def _periods(cost: Cost, by: Period, zone: tzinfo | None) -> Iterator[date]:
    """The first days of the periods that it touches."""
    first = _first_day(cost.since.astimezone(zone).date(), by)
    last = max(cost.until.astimezone(zone).date(), first)
    while first <= last:
        yield first
        first = _next(first, by)


def _share(cost: Cost, since: datetime, until: datetime) -> float:
    """What of a cost falls between two moments; one without a length falls where it begins."""
    length = (cost.until - cost.since).total_seconds()
    if length <= 0:
        return cost.amount if since <= cost.since < until else 0.0
    inside = (min(cost.until, until) - max(cost.since, since)).total_seconds()
    return cost.amount * max(inside, 0.0) / length


def _first_day(day: date, by: Period) -> date:
    return day if by == "day" else day.replace(day=1)


def _next(first: date, by: Period) -> date:
    after = first + timedelta(days=1 if by == "day" else 31)
    return _first_day(after, by)


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    """In UTC, as times of one zone are subtracted by the clock on the wall."""
    naive = datetime.combine(day, time())
    return (naive if zone is None else naive.replace(tzinfo=zone)).astimezone(UTC)
