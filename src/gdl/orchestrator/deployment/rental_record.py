"""What a deployment has rented, as our record of it says."""

from __future__ import annotations

import contextlib
from datetime import datetime

from gdl.domain.errors import GdlError
from gdl.domain.ledger import LedgerEntry, LedgerKind
from gdl.domain.money import dollars
from gdl.domain.rental import Rental
from gdl.domain.session_price import SessionPrice
from gdl.journal import ledger
from gdl.journal.store import Journal


class RentalRecord:
    """The one place where the rental of a deployment is written, in memory and to the journal.
    Whoever ends the deployment finds in `current` what is to be released. entry: what the change
    is to the ledger, written in the same transaction."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._current: Rental | None = None
        self._journaled = False
        """Whether the journal has all of the current one that is ours to write."""

    @property
    def current(self) -> Rental | None:
        return self._current

    async def intend(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """Before anything is asked of a backend: journaled first. Raises GdlError, and nothing is
        to be rented then."""
        await self._write(rental, entry)
        self._current = rental

    def rented(self, rental: Rental) -> None:
        """In memory alone: a machine is there that has to be released, whatever a disk says."""
        self._current, self._journaled = rental, False

    def taken_up(self, rental: Rental) -> None:
        """One that the journal told of."""
        self._current, self._journaled = rental, True

    async def save(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """Raises GdlError when the journal does not take it; it is known in memory all the same."""
        self._current = rental
        await self._write(rental, entry)

    async def change(self, rental: Rental) -> None:
        """As `save`, of the current rental: what is the same as before is not written again, as
        another process may have written it meanwhile."""
        before, self._current = self._current, rental
        if before is None or not self._journaled:
            await self._write(rental, None)
            return
        self._journaled = False
        await self._journal.change(before, rental)
        self._journaled = True

    async def note(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """As `save`, of what has happened whether or not the journal takes it; the channel tells
        when it does not."""
        try:
            await self.save(rental, entry)
        except GdlError:
            return

    async def fetches(self, expected: SessionPrice, at: datetime) -> None:
        """The machine begins to fetch what costs something: into the ledger, whether or not the
        journal takes it."""
        rental = self._current
        if rental is None or expected.traffic <= 0:
            return
        what = f"fetching {expected.download_gb:.0f} GB at {dollars(expected.down_per_gb)}/GB"
        one = ledger.entry(rental, LedgerKind.TRAFFIC, at, what, traffic=expected.traffic)
        with contextlib.suppress(GdlError):
            await ledger.add(self._journal, one)

    async def settle(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """Nothing is rented by this request. Raises GdlError when the journal does not take it."""
        self._current = None
        await self._write(rental, entry)

    async def _write(self, rental: Rental, entry: LedgerEntry | None) -> None:
        self._journaled = False
        await self._journal.save(rental, *(() if entry is None else (ledger.statement(entry),)))
        self._journaled = True

    def clear(self) -> None:
        """Nothing is rented any more, which is journaled already."""
        self._current = None
