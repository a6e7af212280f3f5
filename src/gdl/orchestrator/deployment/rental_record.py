"""What a deployment has rented, as our record of it says."""

from __future__ import annotations

from gdl.domain.errors import GdlError
from gdl.domain.ledger import LedgerEntry
from gdl.domain.rental import Rental
from gdl.journal import ledger
from gdl.journal.store import Journal


class RentalRecord:
    """The one place where the rental of a deployment is written, in memory and to the journal.
    Whoever ends the deployment finds in `current` what is to be released. entry: what the change
    is to the ledger, written in the same transaction."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._current: Rental | None = None

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
        self._current = rental

    async def save(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """Raises GdlError when the journal does not take it; it is known in memory all the same."""
        self._current = rental
        await self._write(rental, entry)

    async def note(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """As `save`, of what has happened whether or not the journal takes it; the channel tells
        when it does not."""
        try:
            await self.save(rental, entry)
        except GdlError:
            return

    async def settle(self, rental: Rental, entry: LedgerEntry | None = None) -> None:
        """Nothing is rented by this request. Raises GdlError when the journal does not take it."""
        self._current = None
        await self._write(rental, entry)

    async def _write(self, rental: Rental, entry: LedgerEntry | None) -> None:
        await self._journal.save(rental, *(() if entry is None else (ledger.statement(entry),)))

    def clear(self) -> None:
        """Nothing is rented any more, which is journaled already."""
        self._current = None
