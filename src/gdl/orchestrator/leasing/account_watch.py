"""While a machine is rented: what its account has left, what its host asks for, and when its
reserved time ends. Nothing is accepted or ended here: it is told, in time to do something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from gdl.backends.base import Backend, Extends, TellsPriceRises
from gdl.domain import events as ev
from gdl.domain.clock import day_and_time, time_of_day
from gdl.domain.errors import GdlError
from gdl.domain.ledger import accounts
from gdl.domain.money import PriceRise, dollars, hourly
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.spending import per_hour
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.balances import Balances
from gdl.presentation.durations import since

_LOOK_S = 60.0
"""Between two looks, each of which may ask the marketplace."""
_RISES_EVERY = 5
"""Hosts are asked about at every so many of these looks: that lists all that is rented there."""
LOW_S = 3600.0
"""A balance that lasts less is low."""
_WELL_S = 2 * LOW_S
"""One that lasts so long again is not, and may be told of anew."""
_END_S, _END_SHARE = 600.0, 1 / 6
"""The end of the reserved time is announced so long before, or at that share of it if less."""


class AccountWatch:
    """Watches one deployment. backend_of: the backend of that name."""

    def __init__(
        self,
        deployment: Deployment,
        backend_of: Callable[[str], Backend | None],
        journal: Journal,
        balances: Balances,
        clock: Callable[[], datetime],
    ) -> None:
        self._deployment = deployment
        self._backend_of = backend_of
        self._journal = journal
        self._balances = balances
        self._clock = clock
        self._low = False
        self._rises: set[PriceRise] = set()
        self._end_told: datetime | None = None
        self._asked_at: datetime | None = None
        self._looks = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            rental = self._deployment.rental
            if rental is not None and rental.billing is Billing.ACTIVE:
                await self._tell_end(rental)
                if self._due():
                    await self._tell_balance(rental)
                    if self._looks % _RISES_EVERY == 0:
                        await self._tell_rises(rental)
                    self._looks += 1
            await asyncio.sleep(min(_LOOK_S, 5.0))

    def _due(self) -> bool:
        now, asked = self._clock(), self._asked_at
        if asked is not None and 0 <= (now - asked).total_seconds() < _LOOK_S:
            return False
        self._asked_at = now
        return True

    async def _tell_end(self, rental: Rental) -> None:
        attempt = self._deployment.state.attempt
        ends = attempt.expires_at if attempt is not None else None
        if attempt is None or attempt.rented_at is None or ends is None or ends == self._end_told:
            return
        reserved = (ends - attempt.rented_at).total_seconds()
        left = (ends - self._clock()).total_seconds()
        if not 0 < left <= min(_END_S, reserved * _END_SHARE):
            return
        self._end_told = ends
        text = (
            f"its host's own term ends at {time_of_day(ends)}, and the machine with it: nothing"
            " puts that off"
        )
        if isinstance(self._backend_of(rental.backend), Extends):
            text = (
                f"the reserved time ends at {time_of_day(ends)}:"
                f" `gdl-tui extend {attempt.session_id} 1` asks for an hour more"
            )
        announced = ev.StopAnnounced(attempt.number, ends, text)
        await self._deployment.tell(ev.Noted("warning", text), announced)

    async def _tell_balance(self, rental: Rental) -> None:
        balance = await self._balances.of(rental.backend)
        if balance is None:
            return
        rate = await self._rate(rental.backend) or rental.price
        if rate <= 0:
            return
        lasts_s = max(balance.credit, 0.0) / rate * 3600
        if lasts_s >= _WELL_S:
            self._low = False
        if self._low or lasts_s >= LOW_S:
            return
        self._low = True
        text = (
            f"{rental.backend} has {dollars(balance.credit)} left: {since(lasts_s)} at"
            f" {hourly(rate)} for all that is rented there; at zero it ends the machines"
        )
        low = ev.BalanceLow(rental.backend, balance.credit, lasts_s)
        await self._deployment.tell(ev.Noted("warning", text), low)

    async def _rate(self, backend: str) -> float:
        """Dollars an hour of all that is billing at a backend, by the ledger."""
        try:
            entries = await ledger.entries(self._journal)
        except GdlError:
            return 0.0
        ours = (each for each in entries if each.backend == backend)
        return per_hour(accounts(ours, self._clock()))

    async def _tell_rises(self, rental: Rental) -> None:
        backend = self._backend_of(rental.backend)
        if not isinstance(backend, TellsPriceRises):
            return
        try:
            pending = await backend.price_rises()
        except GdlError:
            return  # asked again at the next look
        for rise in pending:
            if rise.session_id == rental.session_id and rise not in self._rises:
                self._rises.add(rise)
                await self._tell_rise(rise)

    async def _tell_rise(self, rise: PriceRise) -> None:
        at = rise.at
        start = f" from {day_and_time(at)} on" if at is not None else ""
        text = (
            f"its host asks for {hourly(rise.new_price_per_hour)}{start}, it is rented at"
            f" {hourly(rise.price_per_hour)}: nothing was accepted, which only the marketplace's"
            f" own console does; `gdl-tui destroy {rise.session_id}` ends it"
        )
        raised = ev.PriceRaised(
            self._deployment.attempt,
            rise.session_id,
            rise.price_per_hour,
            rise.new_price_per_hour,
            at,
        )
        await self._deployment.tell(ev.Noted("warning", text), raised)
