"""What a deployment may cost: by our own clock, and the price of each machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gdl.domain.errors import SpendLimitReached
from gdl.domain.money import dollars
from gdl.domain.offers import Offer
from gdl.orchestrator.deployment.context import Deployment
from gdl.presentation.money import hourly

LEAST_MINUTES = 10
"""What a machine is rented for at least: less than that comes to nothing."""
ANNOUNCED_SHARE = 0.8
ANNOUNCED_S = 300.0
"""When the end is announced: at that share of the limit, and so many seconds before."""


@dataclass(frozen=True, slots=True)
class Spending:
    """spent, limit: dollars. left_s: until the limit is reached at the present price, None while
    nothing bills."""

    spent: float
    limit: float
    left_s: float | None

    @property
    def over(self) -> bool:
        return self.left_s is not None and self.left_s <= 0

    @property
    def words(self) -> str:
        return f"{dollars(self.spent)} of {dollars(self.limit)}"


def spending(deployment: Deployment, now: datetime) -> Spending | None:
    """How much of its limit a deployment has spent; None without a limit."""
    spec, state = deployment.spec, deployment.state
    if spec.max_spend is None:
        return None
    spent = spec.spent_before + state.cost(now)
    attempt = state.attempt
    bills = attempt is not None and attempt.rented_at is not None and attempt.released_at is None
    left_s = None
    if attempt is not None and bills and attempt.price_per_hour > 0:
        left_s = (spec.max_spend - spent) / attempt.price_per_hour * 3600
    return Spending(spent, spec.max_spend, left_s)


def refuse_over_limit(deployment: Deployment, offer: Offer, now: datetime) -> None:
    """Before it is rented. Raises SpendLimitReached when the first minutes of this offer, the
    cheapest that suits, would cost more than is left."""
    so_far = spending(deployment, now)
    if so_far is None:
        return
    least = offer.price_per_hour * LEAST_MINUTES / 60
    if so_far.spent + least > so_far.limit:
        raise SpendLimitReached(
            f"{so_far.words} are spent: {LEAST_MINUTES} minutes of {offer.id} at "
            f"{hourly(offer.price_per_hour)} would cost {dollars(least)} more",
            "allow more with --max-spend, or take a cheaper machine",
        )


def ends_at(so_far: Spending, now: datetime) -> datetime | None:
    """When the limit is reached."""
    return None if so_far.left_s is None else now + timedelta(seconds=so_far.left_s)


def reached(so_far: Spending) -> SpendLimitReached:
    return SpendLimitReached(
        f"the spending limit is reached: {so_far.words}", "allow more with --max-spend"
    )
