"""What the replicas of a fleet know of each other: who has which offer, what all of them cost.

The limits of a fleet's wish hold for all of its replicas. So that they can be kept, one replica
chooses at a time, and what it has chosen counts at once, whether or not it is rented yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from gdl.domain.deployment import DeploymentState
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import for_time
from gdl.domain.offers import Exclusion, Offer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.orchestrator.deployment.exclusions import DeploymentExclusions

StateOf = Callable[[], DeploymentState]
_LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one replica has, or is about to rent. alone: nobody else can have the same offer. price:
    dollars an hour."""

    backend: str
    provider: str
    offer_id: str
    machine_id: str
    price: float
    alone: bool


def taken_of(offer: Offer) -> Taken:
    # A market that is asked directly, and names neither machine nor host, lists kinds of machines.
    kind = offer.asked_directly and offer.machine_id is None and offer.host_id is None
    return Taken(
        offer.backend,
        offer.provider,
        offer.id,
        offer.machine_id or "",
        offer.price_per_hour,
        not kind,
    )


class Siblings:
    """Of one fleet. max_price: dollars an hour, all together.
    max_spend: dollars, all together; of these, spent_before went to replicas of processes that are
    gone. choosing: held while one of them chooses."""

    def __init__(self) -> None:
        self.choosing = asyncio.Lock()
        self.max_price: float | None = None
        self.max_spend: float | None = None
        self.spread = False
        self.spent_before = 0.0
        self._members: dict[str, StateOf] = {}
        self._taken: dict[str, Taken] = {}
        self._exclusions: dict[str, DeploymentExclusions] = {}
        self._several: set[tuple[str, str]] = set()
        """Offers that stand for several machines, or that one machine can serve several times."""
        self._ports: dict[str, tuple[str, int]] = {}

    # -- who they are ----------------------------------------------------------------------------

    def join(self, ident: str, state: StateOf, exclusions: DeploymentExclusions) -> None:
        """A deployment that is a replica from now on; one that was gone on with brings what it has
        rented."""
        self._exclusions[ident] = exclusions
        self.waits(ident, state)

    def waits(self, ident: str, state: StateOf) -> None:
        """One of a process that is gone, which is not gone on with yet: what it has counts."""
        self._members[ident] = state
        now = state()
        attempt = now.attempt
        if attempt is not None and now.billing not in (Billing.NONE, Billing.RELEASED):
            self._taken[ident] = Taken(
                attempt.backend,
                attempt.provider,
                attempt.offer_id,
                "",
                attempt.price_per_hour,
                True,
            )

    def take(self, ident: str, offer: Offer) -> None:
        """It is about to rent this; what it had before counts no more."""
        self._taken[ident] = taken = taken_of(offer)
        if not taken.alone:
            self._several.add((taken.backend, taken.offer_id))

    def gone_on_with(self, ident: str, rental: Rental) -> None:
        """It has the machine of a replica that was left serving."""
        self._taken[ident] = Taken(
            rental.backend, rental.provider, rental.offer_id, "", rental.price, True
        )

    def settled(self, ident: str, cost: float) -> None:
        """It is over, or another one has its machine: this is what counts of its cost from now on,
        in dollars."""
        self._members.pop(ident, None)
        self.left(ident)
        self.spent_before += cost

    def refused(self, ident: str, why: str, now: datetime) -> None:
        """What it serves on its machine is not usable for the fleet."""
        known = self._exclusions.get(ident)
        taken = self._taken.get(ident)
        if known is not None and taken is not None and taken.alone:
            known.add(
                Exclusion(
                    "offer",
                    taken.offer_id,
                    why,
                    now,
                    cause="not usable for the fleet",
                    scope="deployment",
                    backend=taken.backend,
                )
            )

    def left(self, ident: str) -> None:
        """It is over, and has nothing any more; what it has cost still counts."""
        self._taken.pop(ident, None)
        self._ports.pop(ident, None)

    def _others(self, ident: str) -> Iterator[tuple[Taken, DeploymentState]]:
        """What the others have that are not over, or may have."""
        for name, taken in self._taken.items():
            state = self._members[name]()
            over = state.finished is not None and state.billing in (Billing.NONE, Billing.RELEASED)
            if name != ident and not over:
                yield taken, state

    # -- offers ----------------------------------------------------------------------------------

    def exclusions(self, ident: str, now: datetime) -> list[Exclusion]:
        """The offers and machines that the others have, and what they have excluded lately: what
        failed for one fails for the next."""
        found = [
            exclusion
            for name, known in self._exclusions.items()
            if name != ident
            for exclusion in known.in_force
            if now - exclusion.since < _LATELY
            and (exclusion.backend, exclusion.key) not in self._several
        ]
        for taken, _ in self._others(ident):
            if not taken.alone:
                continue
            for kind, key in (("offer", taken.offer_id), ("machine", taken.machine_id)):
                if key:
                    found.append(
                        Exclusion(
                            kind,
                            key,
                            "another replica uses it",
                            now,
                            cause="another replica uses it",
                            scope="deployment",
                            backend=taken.backend,
                        )
                    )
        return found

    def ports(self, ident: str, host: str) -> frozenset[int]:
        """Those of the others' servers on this machine."""
        return frozenset(p for i, (h, p) in self._ports.items() if i != ident and h == host)

    def promise(self, ident: str, host: str, port: int) -> None:
        self._ports[ident] = (host, port)

    def crowd(self, ident: str, offer: Offer, *, by_backend: bool) -> int:
        """How many of the others are on an offer's market. by_backend: that is its backend, else
        its provider."""
        others = [taken for taken, _ in self._others(ident)]
        if by_backend:
            return sum(taken.backend == offer.backend for taken in others)
        return sum((t.backend, t.provider) == (offer.backend, offer.provider) for t in others)

    # -- money -----------------------------------------------------------------------------------

    def price_left(self, ident: str) -> float | None:
        """Dollars an hour that this replica may cost at most; None without a limit. Each takes the
        cheapest that there is, so that as many as can be paid for are had."""
        if self.max_price is None:
            return None
        return max(self.max_price - self.price(ident), 0.0)

    def cost(self, ident: str, now: datetime) -> float:
        """Dollars that the others have cost so far, those that are over included."""
        return self.spent_before + sum(
            state().cost(now) for name, state in self._members.items() if name != ident
        )

    def price(self, ident: str) -> float:
        """Dollars an hour of what the others have or are about to rent."""
        return sum(taken.price for taken, _ in self._others(ident))

    def rate(self, ident: str) -> float:
        """Dollars an hour that the others cost now."""
        return sum(_rate(state) for _, state in self._others(ident))

    def promised(self, ident: str, hours: float, now: datetime) -> float:
        """Dollars that the others are still to cost until each machine has run for so many
        hours."""
        return sum(
            max(taken.price * hours - _cost(state, now), 0.0)
            for taken, state in self._others(ident)
        )

    def limit_of(self, ident: str, now: datetime) -> float | None:
        """Dollars that this replica may have cost by the time at which all together reach the
        limit, if things go on as they do; None without one. What a guard on its machine is told."""
        state = self._members[ident]()
        own = state.cost(now)
        if self.max_spend is None:
            return None
        left = max(self.max_spend - own - self.cost(ident, now), 0.0)
        rate = _rate(state)
        together = rate + self.rate(ident)
        if together <= 0:
            return own + left
        # By the whole minute: a guard that is told something new at each look is told too much.
        end = now + timedelta(hours=left / together)
        end = max(end.replace(second=0, microsecond=0), now)
        return round(own + for_time(rate, now, end), 4)


def _rate(state: DeploymentState) -> float:
    attempt = state.attempt
    if attempt is None or attempt.rented_at is None or attempt.released_at is not None:
        return 0.0
    return attempt.price_per_hour


def _cost(state: DeploymentState, now: datetime) -> float:
    """Dollars of what it has rented now."""
    return state.attempt.cost(now) if state.attempt is not None and _rate(state) else 0.0
