"""What a deployment may cost: by our own clock, and the price of each machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import SpendLimitReached
from gdl.domain.money import dollars
from gdl.domain.offers import Offer
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.presentation.money import hourly

LEAST_MINUTES = 10
"""What a machine is rented for at least: less than that comes to nothing."""
_LOOK_S = 1.0
"""Between two looks at what is spent."""
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


def limit_reached(so_far: Spending) -> SpendLimitReached:
    return SpendLimitReached(
        f"the spending limit is reached: {so_far.words} are spent", "allow more with --max-spend"
    )


async def carried_over(
    journal: Journal, rental: Rental, now: datetime
) -> tuple[float | None, float]:
    """(the limit of the deployment that rented this machine, dollars that its other machines cost).
    Whoever goes on with the machine goes on with both."""
    state = DeploymentState(rental.deployment_id)
    for recorded in await journal.events(rental.deployment_id):
        state = apply(state, recorded)
    if state.spec is None or state.spec.max_spend is None:
        return None, 0.0
    others = [a for a in state.attempts if a.session_id != rental.session_id]
    return state.spec.max_spend, state.spec.spent_before + sum(a.cost(now) for a in others)


async def watch_spending(deployment: Deployment, clock: Callable[[], datetime]) -> None:
    """Announce that the limit of a deployment comes near, and end it when it is reached. Returns at
    once where there is none.

    One that goes on with an earlier one's machine may be over it from the start: that is announced,
    too, before it ends.
    """
    told_share = told_end = False
    grace_until: float | None = None
    while (so_far := spending(deployment, clock())) is not None:
        if so_far.left_s is None:
            await asyncio.sleep(_LOOK_S)
            continue
        left_s = so_far.left_s
        if grace_until is None:
            grace_until = time.monotonic() + (ANNOUNCED_S if so_far.over else 0.0)
        left_s = max(left_s, grace_until - time.monotonic())
        if left_s <= 0:
            break
        end = f"the machine is released at {clock() + timedelta(seconds=left_s):%H:%M} UTC"
        if left_s <= ANNOUNCED_S and not told_end:
            told_share = told_end = True
            await deployment.note(f"{so_far.words} are spent: {end}", "warning")
        elif so_far.spent >= ANNOUNCED_SHARE * so_far.limit and not told_share:
            told_share = True
            await deployment.note(f"{so_far.words} are spent: {end}", "warning")
        await asyncio.sleep(min(max(left_s, 0.01), _LOOK_S))
    else:
        return
    task = deployment.task
    if task is not None and not deployment.cancelling and deployment.state.finished is None:
        deployment.over_limit = True
        task.cancel()
