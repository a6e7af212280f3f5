"""Events of one fleet: journaled, applied, then published."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import reduce

from gdl.domain.errors import GdlError
from gdl.domain.event import Event
from gdl.domain.events import Noted, Recorded
from gdl.domain.fleet import FleetState, apply_fleet, replayed_fleet
from gdl.domain.fleet_events import FleetFinished
from gdl.journal.store import Journal


class FleetChannel:
    """As `EventChannel` for deployments. Nothing comes after the last word, unless the fleet is
    gone on with."""

    def __init__(
        self,
        fleet_id: str,
        journal: Journal,
        clock: Callable[[], datetime],
        history: Sequence[Recorded] = (),
    ) -> None:
        self.id = fleet_id
        self.clock = clock
        self.state: FleetState = replayed_fleet(fleet_id, history)
        self._journal = journal
        self._history = list(history)
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()

    async def emit(self, *events: Event) -> None:
        """All or nothing even when cancelled; several make one change of the state. A journal that
        cannot be written stops nothing: what is rented has to be released all the same."""
        await asyncio.shield(self._emit(events))

    async def note(self, text: str, level: str = "info") -> None:
        await self.emit(Noted(level, text))

    async def _emit(self, events: Sequence[Event]) -> None:
        async with self._lock:
            now, first = self.clock(), self.state.last_seq + 1
            told = [Recorded(self.id, seq, now, event) for seq, event in enumerate(events, first)]
            for recorded in told:
                with contextlib.suppress(GdlError):
                    await self._journal.append(recorded)
            self.state = reduce(apply_fleet, told, self.state)
            self._history += told
            self._changed.set()
            self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[Recorded]:
        """History, then live; ends with the FleetFinished that is the last event."""
        place = 0
        while True:
            changed = self._changed
            for recorded in self._history[place:]:
                place += 1
                yield recorded
                over = isinstance(recorded.event, FleetFinished)
                if over and self.state.last_seq == recorded.seq:
                    return
            if place >= len(self._history):
                await changed.wait()
