"""What a deployment may cost, alone and together with all others: by our own clock, and the price
of each machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypedDict

from gdl.domain import events as ev
from gdl.domain.clock import time_of_day
from gdl.domain.deployment import replayed
from gdl.domain.errors import GdlError, SpendLimitReached
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import dollars, hourly
from gdl.domain.offers import Offer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.spending import Cap
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.spending_caps import SpendingCaps, cap_hint, cap_words

LEAST_MINUTES = 10
"""What a machine is rented for at least: less than that comes to nothing. Limits and balances must
pay for it."""
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
    def words(self) -> str:
        return f"{dollars(self.spent)} of {dollars(self.limit)}"


def spending(deployment: Deployment, now: datetime) -> Spending | None:
    """How much of its limit a deployment has spent, or the fleet that it is a replica of; None
    without a limit."""
    spec, state, siblings = deployment.spec, deployment.state, deployment.siblings
    limit = spec.max_spend if siblings is None else siblings.max_spend
    if limit is None:
        return None
    spent, rate = spec.spent_before + state.cost(now), 0.0
    if siblings is not None:
        spent += siblings.cost(deployment.id, now)
        rate = siblings.rate(deployment.id)
    attempt = state.attempt
    bills = attempt is not None and attempt.rented_at is not None and attempt.released_at is None
    left_s = None
    if attempt is not None and bills and attempt.price_per_hour > 0:
        left_s = (limit - spent) / (attempt.price_per_hour + rate) * 3600
    return Spending(spent, limit, left_s)


async def refuse_over_limit(
    deployment: Deployment, offer: Offer, now: datetime, caps: SpendingCaps
) -> None:
    """Before it is rented. Raises SpendLimitReached when the first minutes of this offer, the
    cheapest that suits, and what is downloaded in them, would cost more than is left."""
    expected = deployment.expected
    traffic = expected.traffic if expected is not None else 0.0
    least = offer.price_per_hour * LEAST_MINUTES / 60 + traffic
    would = (
        f"{LEAST_MINUTES} minutes of {offer.id} at {hourly(offer.price_per_hour)}"
        f"{' and its downloads' if traffic else ''} would cost {dollars(least)} more"
    )
    so_far = spending(deployment, now)
    siblings = deployment.siblings
    # The first minutes of another replica's machine count, though they are not over yet.
    others = 0.0
    if siblings is not None:
        others = siblings.promised(deployment.id, LEAST_MINUTES / 60, now)
    if so_far is not None and so_far.spent + others + least > so_far.limit:
        raise SpendLimitReached(
            f"{so_far.words} is spent: {would}",
            "allow more with --max-spend, or take a cheaper machine",
        )
    for cap in await caps.now():
        if cap.spent + least > cap.limit:
            raise SpendLimitReached(f"{cap_words(cap)} is spent: {would}", cap_hint(cap))


@dataclass(frozen=True, slots=True)
class _Limit:
    """One of the limits that would end a deployment. share: of it that is spent. left_s: until it
    is reached."""

    name: str
    words: str
    hint: str
    share: float
    left_s: float

    @property
    def reached(self) -> SpendLimitReached:
        return SpendLimitReached(f"the spending limit is reached: {self.words} is spent", self.hint)


async def _nearest(deployment: Deployment, now: datetime, caps: SpendingCaps) -> _Limit | None:
    """The limit that is reached first while things go on as they do; None: none will be."""
    found: list[_Limit] = []
    own = spending(deployment, now)
    if own is not None and own.left_s is not None:
        hint = "allow more with --max-spend"
        found.append(_Limit("own", own.words, hint, own.spent / own.limit, own.left_s))
    rental = deployment.rental
    if caps and rental is not None and rental.billing is Billing.ACTIVE:
        near: list[Cap] = []
        with contextlib.suppress(GdlError):  # a journal that cannot be read ends nothing
            near = await caps.now(fresh=False)
        for cap in near:
            if (left_s := cap.left_s(now)) is not None:
                share = cap.spent / cap.limit
                found.append(_Limit(cap.period, cap_words(cap), cap_hint(cap), share, left_s))
    return min(found, key=lambda limit: limit.left_s, default=None)


class Limits(TypedDict):
    """Of a deployment, as in `DeploymentSpec`."""

    max_spend: float | None
    spent_before: float
    idle_minutes: float | None
    unseen_hours: float | None


async def carried_over(journal: Journal, rental: Rental, now: datetime) -> Limits:
    """The limits of the deployment that rented this machine, with the dollars that its other
    machines cost. Whoever goes on with the machine goes on with them."""
    state = replayed(rental.deployment_id, await journal.events(rental.deployment_id))
    limits = Limits(max_spend=None, spent_before=0.0, idle_minutes=None, unseen_hours=None)
    if state.spec is None:
        return limits
    limits["idle_minutes"] = state.spec.idle_minutes
    limits["unseen_hours"] = state.spec.unseen_hours
    if state.spec.max_spend is not None:
        others = [a for a in state.attempts if a.session_id != rental.session_id]
        limits["max_spend"] = state.spec.max_spend
        limits["spent_before"] = state.spec.spent_before + sum(a.cost(now) for a in others)
    return limits


async def watch_spending(
    deployment: Deployment, clock: Callable[[], datetime], caps: SpendingCaps
) -> None:
    """Announce that a limit of a deployment comes near, and end it when it is reached. Returns at
    once where there is none.

    One that goes on with an earlier one's machine may be over it from the start, and others may
    spend much at a time: that is announced, too, before it ends.
    """
    limited = deployment.spec.max_spend is not None or deployment.siblings is not None
    if not limited and not caps:
        return
    told: set[tuple[str, str]] = set()
    grace_until: dict[str, float] = {}
    while True:
        limit = await _nearest(deployment, clock(), caps)
        if limit is None:
            await asyncio.sleep(_LOOK_S)
            continue
        left_s = limit.left_s
        if left_s <= 0 and (limit.name, "near") not in told:
            grace_until[limit.name] = time.monotonic() + ANNOUNCED_S
        left_s = max(left_s, grace_until.get(limit.name, 0.0) - time.monotonic())
        if left_s <= 0:
            break
        await _announce(deployment, limit, clock() + timedelta(seconds=left_s), left_s, told)
        await asyncio.sleep(min(max(left_s, 0.01), _LOOK_S))
    task = deployment.task
    if task is not None and not deployment.cancelling and deployment.state.finished is None:
        deployment.over_limit = limit.reached
        task.cancel()


async def _announce(
    deployment: Deployment,
    limit: _Limit,
    end: datetime,
    left_s: float,
    told: set[tuple[str, str]],
) -> None:
    """At most once when much is spent, and once when the end is near. told: what was announced."""
    near, much = (limit.name, "near"), (limit.name, "much")
    text = f"{limit.words} is spent: the machine is released at {time_of_day(end)}"
    if left_s <= ANNOUNCED_S and near not in told:
        told |= {near, much}
        announced = ev.StopAnnounced(deployment.attempt, end, text)
        await deployment.tell(ev.Noted("warning", text), announced)
    elif limit.share >= ANNOUNCED_SHARE and much not in told:
        told.add(much)
        await deployment.tell(ev.Noted("warning", text))
