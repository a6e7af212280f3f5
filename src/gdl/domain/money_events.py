"""The events of a deployment that are about money, for whoever is to be told while they are away. A
`Noted` beside each says the same to those who watch."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.event import Event
from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class StopAnnounced(Event):
    """Its machine will be stopped at `ends_at`, unless somebody does something. reason: why, in a
    sentence."""

    attempt: int
    ends_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class PriceRaised(Event):
    """Its host asks for more from `begins_at` on; nobody has agreed to it. Dollars an hour."""

    attempt: int
    session_id: str
    price_per_hour: float
    new_price_per_hour: float
    begins_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BalanceLow(Event):
    """What the account at a backend has left does not last long. credit: dollars. lasts_s: seconds
    at what is billing now; None when nothing is."""

    backend: str
    credit: float
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class SessionCharged(Event):
    """What the market charged for a session that is over, beside what was expected for the time
    that it took; dollars. final: that is all there will be."""

    attempt: int
    session_id: str
    expected: float
    charged: float
    final: bool = True
