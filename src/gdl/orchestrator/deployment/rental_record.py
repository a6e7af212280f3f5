"""What a deployment has rented, as our record of it says."""

from __future__ import annotations

from gdl.domain.errors import GdlError
from gdl.domain.rental import Rental
from gdl.journal.store import Journal


class RentalRecord:
    """The one place where the rental of a deployment is written, in memory and to the journal.
    Whoever ends the deployment finds in `current` what is to be released."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._current: Rental | None = None

    @property
    def current(self) -> Rental | None:
        return self._current

    async def intend(self, rental: Rental) -> None:
        """Before anything is asked of a backend: journaled first. Raises GdlError, and nothing is
        to be rented then."""
        await self._journal.save(rental)
        self._current = rental

    def rented(self, rental: Rental) -> None:
        """In memory alone: a machine is there that has to be released, whatever a disk says."""
        self._current = rental

    async def save(self, rental: Rental) -> None:
        """Raises GdlError when the journal does not take it; it is known in memory all the same."""
        self._current = rental
        await self._journal.save(rental)

    async def note(self, rental: Rental) -> None:
        """As `save`, of what has happened whether or not the journal takes it; the channel tells
        when it does not."""
        try:
            await self.save(rental)
        except GdlError:
            return

    async def settle(self, rental: Rental) -> None:
        """Nothing is rented by this request. Raises GdlError when the journal does not take it."""
        self._current = None
        await self._journal.save(rental)

    def clear(self) -> None:
        """Nothing is rented any more, which is journaled already."""
        self._current = None
