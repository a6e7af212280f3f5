"""What the accounts have left, and which offers that pays for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.backends.base import Backend, TellsBalance
from gdl.domain.errors import BackendError
from gdl.domain.money import Balance, dollars, hourly
from gdl.domain.offers import Exclusion, Offer
from gdl.orchestrator.leasing.spending import LEAST_MINUTES
from gdl.presentation.durations import since
from gdl.settings import Settings

HOLDS_S = 60.0
"""For so long an answer is not asked for again."""
TOO_LOW = "balance too low"
"""The cause of exclusions for that."""
_LONGEST_S = 10.0
"""Nobody waits longer for a balance: it is no condition of anything."""


class Balances:
    """backends: those that may be asked."""

    def __init__(
        self, backends: Sequence[Backend], settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._limit_s = min(settings.timeouts.http, _LONGEST_S)
        self._clock = clock
        self._known: dict[str, tuple[datetime, Balance | None]] = {}

    async def all(self) -> dict[str, Balance]:
        """By backend; of those that tell and answer."""
        found = await asyncio.gather(*(self.of(name) for name in self._backends))
        return {n: b for n, b in zip(self._backends, found, strict=True) if b is not None}

    async def of(self, name: str) -> Balance | None:
        """What the account at a backend has left; None where it does not tell, or not now."""
        backend = self._backends.get(name)
        if not isinstance(backend, TellsBalance):
            return None
        at, balance = self._known.get(name, (None, None))
        if at is not None and 0 <= (self._clock() - at).total_seconds() < HOLDS_S:
            return balance
        balance = None
        try:
            async with asyncio.timeout(self._limit_s):
                balance = await backend.balance()
        except (BackendError, TimeoutError):
            pass  # asked again when that has been kept for its time
        self._known[name] = self._clock(), balance
        return balance

    async def too_dear(self, offers: Sequence[Offer]) -> list[Exclusion]:
        """An exclusion for each offer whose first minutes the balance there does not pay."""
        found = []
        for name in sorted({offer.backend for offer in offers}):
            balance = await self.of(name)
            if balance is None:
                continue
            most = balance.credit * 60 / LEAST_MINUTES
            why = (
                f"{name} has {dollars(balance.credit)} left, less than {LEAST_MINUTES} minutes cost"
            )
            now = self._clock()
            found += [
                Exclusion(
                    "offer", offer.id, why, now, cause=TOO_LOW, scope="deployment", backend=name
                )
                for offer in offers
                if offer.backend == name and offer.price_per_hour > most
            ]
        return found

    async def words(self, offer: Offer, hours: int) -> str:
        """What is to be said before an offer is rented for so long; "" when the balance pays for
        that, or is not known."""
        balance = await self.of(offer.backend)
        if balance is None or offer.price_per_hour * hours <= balance.credit:
            return ""
        lasts = since(balance.credit / offer.price_per_hour * 3600)
        return (
            f"{offer.backend} has {dollars(balance.credit)} left: {lasts} at"
            f" {hourly(offer.price_per_hour)}"
        )
