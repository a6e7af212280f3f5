"""Asks what the market charged for sessions that have ended, and keeps it beside what was expected:
the next estimate goes by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from gdl.backends.base import Backend, ReportsCharges
from gdl.domain import events as ev
from gdl.domain.attempt_state import AttemptState
from gdl.domain.errors import GdlError
from gdl.domain.phase import Phase
from gdl.domain.session_charges import SessionCharges, complete, with_charges
from gdl.journal import session_charges
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment

_ANSWER_S = 5.0
"""For the charges at the end of a deployment: nobody waits for them longer."""
_AGAIN_S = 3600.0
"""Between two looks for charges that were not known at the end."""
_LOOK_BACK = timedelta(days=30)


class ChargeComparison:
    """Of the backends that tell their charges; the others are left alone."""

    def __init__(
        self, backends: Iterable[Backend], journal: Journal, clock: Callable[[], datetime]
    ) -> None:
        self._backends = {b.name: b for b in backends if isinstance(b, ReportsCharges)}
        self._journal = journal
        self._clock = clock
        self._looked_at: float | None = None

    async def compare(self, deployment: Deployment) -> None:
        """Keep what each session of a deployment that is over was to cost, and tell what was
        charged for it where the market says so at once. Never raises for what others do."""
        for attempt in deployment.state.attempts:
            row = _row_of(deployment, attempt)
            if row is None or row.backend not in self._backends:
                continue
            try:
                await session_charges.remember(self._journal, row)
                async with asyncio.timeout(_ANSWER_S):
                    known = await self._ask(row.backend, [row])
            except (GdlError, TimeoutError):
                continue
            for one, final in known:
                if one.charged is not None:
                    await deployment.emit(
                        ev.SessionCharged(
                            attempt.number, one.session_id, one.expected, one.charged, final
                        )
                    )

    async def catch_up(self) -> None:
        """Ask once more for what was not known at the end of earlier deployments, at most once an
        hour. Never raises for what others do."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < _AGAIN_S:
            return
        self._looked_at = now
        for name in self._backends:
            try:
                since = self._clock() - _LOOK_BACK
                rows = await session_charges.unknown(self._journal, name, since)
                if rows:
                    async with asyncio.timeout(_ANSWER_S):
                        await self._ask(name, list(rows))
            except (GdlError, TimeoutError):
                continue

    async def _ask(
        self, backend: str, rows: list[SessionCharges]
    ) -> list[tuple[SessionCharges, bool]]:
        """Those rows with what was charged so far, and whether that is all. What is all is kept in
        the journal."""
        told = await self._backends[backend].charges(min(row.rented_at for row in rows))
        charges, now = list(told), self._clock()
        known = [(with_charges(row, charges), complete(row, charges, now)) for row in rows]
        for row, final in known:
            if final:
                await session_charges.remember(self._journal, row)
        return known


def _row_of(deployment: Deployment, attempt: AttemptState) -> SessionCharges | None:
    """None of one that is not over, of which no price was expected, or that ended before all was
    downloaded."""
    rented, released, expected = attempt.rented_at, attempt.released_at, attempt.expected
    if rented is None or released is None or expected is None or not attempt.entered(Phase.SERVING):
        return None
    took = expected.as_listed.lasting((released - rented).total_seconds() / 3600)
    return SessionCharges(
        backend=attempt.backend or deployment.spec.backend,
        session_id=attempt.session_id or "",
        provider=attempt.provider,
        host=attempt.host,
        rented_at=rented,
        released_at=released,
        expected_rent=took.rent,
        expected_traffic=took.traffic,
    )
