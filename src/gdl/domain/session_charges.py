"""What sessions were to cost beside what the market charged for them, and what is learnt of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import Charge
from gdl.domain.session_price import Charged

_LEAST = 0.005
"""Dollars: half a cent. Of less than that the rounding is all that could be learnt."""
_BOUNDS = (0.25, 4.0)
"""How far one session may move what is expected of the next."""
_LAST_MINUTE = timedelta(minutes=1)
_GIVEN_UP = timedelta(days=1)
"""After which whatever was charged is taken to be all."""


@dataclass(frozen=True, slots=True)
class SessionCharges:
    """A session that has ended, in dollars. host: who ran its machine, or the machine itself, ""
    where that is not told. expected: by the listing, for the time that it took. charged: None
    until it is known."""

    backend: str
    session_id: str
    provider: str
    host: str
    rented_at: datetime
    released_at: datetime
    expected_rent: float
    expected_traffic: float
    charged_rent: float | None = None
    charged_traffic: float | None = None

    @property
    def expected(self) -> float:
        return self.expected_rent + self.expected_traffic

    @property
    def charged(self) -> float | None:
        if self.charged_rent is None or self.charged_traffic is None:
            return None
        return self.charged_rent + self.charged_traffic


def with_charges(row: SessionCharges, charges: Iterable[Charge]) -> SessionCharges:
    """The row with what was charged for it so far; as it was where that is nothing. Charges without
    a kind are shared out as was expected."""
    own = [one for one in charges if one.session_id == row.session_id]
    if not own:
        return row
    rent = sum(one.amount for one in own if one.kind in ("gpu", "disk"))
    traffic = sum(one.amount for one in own if one.kind == "traffic")
    other = sum(one.amount for one in own if one.kind not in ("gpu", "disk", "traffic"))
    share = row.expected_traffic / row.expected if row.expected and not (rent or traffic) else 0.0
    return replace(
        row,
        charged_rent=rent + other * (1 - share),
        charged_traffic=traffic + other * share,
    )


def complete(row: SessionCharges, charges: Iterable[Charge], now: datetime) -> bool:
    """Whether those are all there will be: a day or an hour that is not over may cost more."""
    own = [one.until for one in charges if one.session_id == row.session_id]
    last = max((until for until in own if until <= now), default=None)
    over = last is not None and last >= row.released_at - _LAST_MINUTE
    return bool(own) and (over or now - row.released_at > _GIVEN_UP)


def learnt(rows: Iterable[SessionCharges]) -> Mapping[str, Charged]:
    """By provider and by host. What few sessions say is drawn towards what the market's do, and
    that towards the listing."""
    by_provider: dict[str, list[tuple[float, float]]] = defaultdict(list)
    by_host: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.charged_rent is None or row.charged_traffic is None:
            continue
        times = (
            _times(row.charged_rent, row.expected_rent),
            _times(row.charged_traffic, row.expected_traffic),
        )
        by_provider[row.provider].append(times)
        if row.host:
            by_host[row.provider, row.host].append(times)
    found = {name: _drawn(Charged(), times, "market") for name, times in by_provider.items()}
    hosts = {
        host: _drawn(found[provider], times, "host") for (provider, host), times in by_host.items()
    }
    return {**found, **hosts}


def _times(charged: float, expected: float) -> float:
    if expected < _LEAST:
        return 1.0
    return min(max(charged / expected, _BOUNDS[0]), _BOUNDS[1])


def _drawn(before: Charged, times: list[tuple[float, float]], whose: str) -> Charged:
    count = len(times)
    return Charged(
        rent=(before.rent + sum(rent for rent, _ in times)) / (count + 1),
        traffic=(before.traffic + sum(traffic for _, traffic in times)) / (count + 1),
        whose=whose,
        sessions=count,
    )
