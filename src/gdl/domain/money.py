"""What was spent."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from gdl.domain.lazy_dataclass import dataclass

_CENTS_FROM = 0.1
"""Below this two decimals would hold fewer than two significant digits."""
_LEAST = 0.0001


@dataclass(frozen=True, slots=True)
class SessionCost:
    """What one session came to, in dollars. cost: by our own clock, None where nobody knows whether
    it costs. charged: by the marketplace, None where it does not tell (so far). until: None while
    it goes on."""

    backend: str
    provider: str
    session_id: str
    deployment_id: str
    price_per_hour: float
    since: datetime | None
    until: datetime | None
    cost: float | None
    charged: float | None = None


@dataclass(frozen=True, slots=True)
class CostReport:
    """What the backend says was spent; `by_provider` in dollars. sessions: ours, in order."""

    total: float
    currency: str = "USD"
    session_count: int = 0
    hours_used: float = 0.0
    by_provider: dict[str, float] = field(default_factory=dict)
    note: str = ""
    sessions: tuple[SessionCost, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has left, in dollars."""

    credit: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a marketplace charged for a machine, in dollars, over a time. kind: gpu | disk | traffic
    | other. session_id: "" where it is not told."""

    session_id: str
    amount: float
    since: datetime
    until: datetime
    kind: str = "other"


@dataclass(frozen=True, slots=True)
class PriceRise:
    """A host asks for more for a machine that is rented already, and waits for an answer. Dollars
    an hour. at: from when on; None where it is not told."""

    session_id: str
    price_per_hour: float
    new_price_per_hour: float
    at: datetime | None = None


def for_time(price_per_hour: float, since: datetime, until: datetime) -> float:
    """Dollars that a price by the hour comes to between two moments; none where `until` is the
    earlier one."""
    return price_per_hour * max((until - since).total_seconds(), 0.0) / 3600


def for_a_million(price_per_hour: float, tokens_per_s: float) -> float:
    """Dollars for 10^6 tokens, at a price by the hour and a throughput above 0."""
    return price_per_hour / 3600 / tokens_per_s * 1e6


def dollars(amount: float) -> str:
    """An amount in dollars: "$1.20", "$0.40", "$0.052", "$0.0035", "$0.00" for nothing.

    Two decimals, and two significant digits where it is less than ten cents.
    """
    if amount < 0:
        return f"-{dollars(-amount)}"
    if amount >= _CENTS_FROM or amount == 0:
        return f"${amount:.2f}"
    return f"${amount:#.2g}" if amount >= _LEAST else f"<${_LEAST}"


def price(per_hour: float) -> str:
    """Dollars an hour, where a heading says "an hour": "$0.131", "$12.50", "$0.0035", "free"."""
    if per_hour <= 0:
        return "free"
    if per_hour >= 100:
        return f"${per_hour:.0f}"
    return f"${per_hour:.3f}" if 0.01 <= per_hour < 10 else dollars(per_hour)


def hourly(per_hour: float) -> str:
    """The same where nothing else says it: "$0.131/h", "free". A price is told in no other way: two
    that are the same look the same."""
    return f"{price(per_hour)}/h" if per_hour > 0 else "free"
