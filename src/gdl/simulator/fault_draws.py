"""Which faults an offer has, and which requests go wrong: decided by the scenario and the seed, and
by whoever injects faults into a market that runs."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import TypeVar

from gdl.simulator.fault_models import Http, OfferFault, Operation
from gdl.simulator.listings import Listing
from gdl.simulator.scenario import Scenario

F = TypeVar("F", bound=OfferFault)


class OfferFaults(tuple[OfferFault, ...]):
    """What is wrong with one offer."""

    __slots__ = ()

    def first(self, kind: type[F]) -> F | None:
        return next((fault for fault in self if isinstance(fault, kind)), None)


class Draws:
    """The same seed gives the same faults, whatever the order of events."""

    def __init__(self, scenario: Scenario, seed: int, listed: Sequence[Listing]) -> None:
        self._seed = seed
        self._http = [fault for fault in scenario.fault if isinstance(fault, Http)]
        self._offer_faults = [fault for fault in scenario.fault if not isinstance(fault, Http)]
        by_price = sorted(listed, key=lambda o: (o.price, -o.reliability, o.id))
        self._place = {offer.id: place for place, offer in enumerate(by_price, 1)}
        self._used: Counter[int] = Counter()
        self._seen: Counter[int] = Counter()
        self._next: dict[Operation, deque[Http | OfferFault]] = {}
        self._always: dict[Operation, Http] = {}
        self._injected: list[OfferFault] = []
        self.version = 0
        """Changes with what is injected for all offers."""

    # -- faults that are injected, which come before those of the scenario

    def inject(self, fault: Http | OfferFault, times: int | None = 1) -> None:
        """The next `times` requests of the fault's kind go wrong, in the order of the calls, and
        whatever offer they are for; None: from now on, for the offers that the fault names."""
        operation: Operation = fault.on if isinstance(fault, Http) else "create"
        if times is not None:
            self._next.setdefault(operation, deque()).extend([fault] * times)
        elif isinstance(fault, Http):
            self._always[operation] = fault
        else:
            self._injected.insert(0, fault)
            self.version += 1

    def heal(self) -> None:
        """Forget what was injected."""
        self._next.clear()
        self._always.clear()
        self._injected.clear()
        self.version += 1

    def of_session(self, offer: Listing, host: str = "") -> OfferFaults:
        """The faults of a session that is made now; each call is one session. host: as for
        `of_offer`."""
        found = self.of_offer(offer, host)
        waiting = self._next.get("create")
        if waiting and not isinstance(waiting[0], Http):
            first = waiting.popleft()
            assert not isinstance(first, Http)
            return OfferFaults((first, *found))
        return found

    # -- faults that are drawn

    def random(self, *what: object) -> random.Random:
        """Chance that depends on the seed and on `what` alone."""
        return random.Random(f"{self._seed}/{'/'.join(str(w) for w in what)}")  # noqa: S311

    def of_offer(self, offer: Listing, host: str = "") -> OfferFaults:
        """The faults of an offer, by the order of the scenario. host: whose they are, where one
        offer stands for many hosts, each with a draw of its own."""
        left = self.random("offer", host or offer.id).random()
        found = [fault for fault in self._injected if self._named(fault, offer)]
        for fault in self._offer_faults:
            if not self._named(fault, offer):
                continue
            if fault.share is not None:
                # The shares lie side by side, and one draw falls into one of them or beside all.
                left, before = left - fault.share, left
                if not before >= 0 > left:
                    continue
            found.append(fault)
        return OfferFaults(found)

    def may(self, kind: type[OfferFault]) -> bool:
        """Whether any offer can have such a fault."""
        return any(isinstance(fault, kind) for fault in (*self._injected, *self._offer_faults))

    def _named(self, fault: OfferFault, offer: Listing) -> bool:
        if fault.provider and fault.provider != offer.provider:
            return False
        if not fault.offers and not fault.cheapest:
            return True
        return offer.id in fault.offers or self._place.get(offer.id) in fault.cheapest

    def of_request(self, operation: Operation) -> Http | None:
        """What goes wrong with this request; each call is one request."""
        waiting = self._next.get(operation)
        if waiting:
            first = waiting[0]
            if not isinstance(first, Http):
                # The session that is asked for has it.
                return None
            waiting.popleft()
            return first
        if operation in self._always:
            return self._always[operation]
        for number, fault in enumerate(self._http):
            if fault.on != operation or (fault.times and self._used[number] >= fault.times):
                continue
            self._seen[number] += 1
            if self._seen[number] <= fault.skip:
                continue
            if fault.share is not None:
                draw = self.random("request", number, self._seen[number]).random()
                if draw >= fault.share:
                    continue
            self._used[number] += 1
            return fault
        return None
