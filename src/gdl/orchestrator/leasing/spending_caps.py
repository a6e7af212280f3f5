"""What may be spent in a day and in a month, by every process of this computer together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain.ledger import LedgerEntry
from gdl.domain.money import dollars
from gdl.domain.spending import PERIODS, Cap, Tally, period_of, spent_within, tally
from gdl.domain.volumes import VolumeRecord
from gdl.journal import ledger, volumes
from gdl.journal.store import Journal
from gdl.settings import Settings

_READ_EVERY_S = 10.0
"""Between two looks at what other processes wrote."""
_NOW = {"day": "today", "month": "this month"}


class SpendingCaps:
    """The caps of the settings, and how near they are by the ledger. backends: those that are used.
    There is no cap where none bills, and simulated machines are counted apart from real ones."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        backends: Sequence[Backend],
    ) -> None:
        wanted = settings.spending
        limits = {"day": wanted.per_day, "month": wanted.per_month}
        bills = any(backend.traits.bills for backend in backends)
        self._limits = {n: most for n, most in limits.items() if most is not None and bills}
        self._journal = journal
        self._clock = clock
        self._simulated = any(backend.traits.simulated for backend in backends)
        self._read_at: datetime | None = None
        self._entries: list[LedgerEntry] = []
        self._volumes: list[VolumeRecord] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._limits)

    async def now(self, *, fresh: bool = True) -> list[Cap]:
        """Each with what is spent. fresh: by the journal of this moment; else what it said a few
        seconds ago may do. Raises GdlError."""
        now = self._clock()
        if not self._limits:
            return []
        told = await self.tally(now, fresh=fresh)
        found = []
        for period in PERIODS:
            if (limit := self._limits.get(period)) is not None:
                since, until = period_of(now, period)
                spent = spent_within(told.costs, since, until)
                found.append(Cap(period, limit, spent, told.per_hour, until))
        return found

    async def tally(self, now: datetime, *, fresh: bool = True) -> Tally:
        """All that was spent until `now`, which is about this moment. fresh: as in `now`. Raises
        GdlError."""
        age = None if self._read_at is None else (now - self._read_at).total_seconds()
        if fresh or age is None or not 0 <= age < _READ_EVERY_S:
            self._entries = await ledger.entries(self._journal)
            self._volumes = await volumes.known(self._journal)
            self._read_at = now
        return tally(self._entries, self._volumes, now, simulated=self._simulated)


def cap_words(cap: Cap) -> str:
    """ "$4.10 of the $5.00 of today"."""
    return f"{dollars(cap.spent)} of the {dollars(cap.limit)} of {_NOW[cap.period]}"


def cap_hint(cap: Cap) -> str:
    """What helps once it is reached."""
    resets = f"{cap.resets_at.astimezone():%d %b %H:%M}"
    return f"raise spending.per_{cap.period} in the settings, or wait until {resets} (local time)"
