"""What a rent request has made, by the label that it gave: whoever keeps labels answers that for
certain, and without likeness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend, FindsByLabel
from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import GdlError, ReleaseUnconfirmed
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus
from gdl.journal import ledger
from gdl.orchestrator.deployment.context import Deployment, Doubt
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.retry import retrying
from gdl.settings import Settings

LATE_ROW_S = 10.0
"""How long after a missing answer a session may still turn up in the list."""
_LOOK = "look at the marketplace's own console, then run `gdl-tui sessions`"


class LabelledRents:
    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        releaser: Releaser,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._releaser = releaser
        self._clock = clock

    def kept(self, rental: Rental) -> bool:
        """Whether what its request has made bears its label."""
        return bool(rental.label) and isinstance(self._backend, FindsByLabel)

    async def find(
        self, deployment: Deployment, rental: Rental, *, late: bool
    ) -> tuple[Session, ...]:
        """Whatever bears the request's label, of any state. late: it may still turn up. Raises
        ReleaseUnconfirmed when the list cannot be had."""
        backend = self._backend
        assert isinstance(backend, FindsByLabel)
        wait_s = min(LATE_ROW_S, self._settings.timeouts.session / 10) if late else 0.0
        until = time.monotonic() + wait_s
        pauses = Backoff(0.2, 2.0, growth=RETRYING)
        while True:
            try:
                found = await retrying(
                    lambda: backend.labelled(rental.label),
                    deployment.progress,
                    limit_s=self._settings.timeouts.release,
                )
            except GdlError as error:
                raise cannot_tell(error) from None
            if found:
                return tuple(found)
            if time.monotonic() >= until:
                if late:
                    deployment.unanswered.append(rental)
                return ()
            await asyncio.sleep(next(pauses))

    def claims(self, rental: Rental) -> bool:
        """Whether what a request has made can be used though its answer did not come."""
        return self.kept(rental) and self._backend.traits.takes_key

    async def claim(self, deployment: Deployment, rental: Rental, why: str) -> Session | None:
        """The machine of a request without an answer, where its label tells and we hold its key:
        it can be used. Of several, one; the others are destroyed. None: there is none. Raises
        ReleaseUnconfirmed when that cannot be found out."""
        if not self.claims(rental):
            return None
        await deployment.progress(f"{why}: asking for a machine with its label")
        rental = await uncertain(deployment, rental, why, self._clock())
        try:
            found = await self.find(deployment, rental, late=True)
        except ReleaseUnconfirmed as error:
            await self._releaser.doubt(deployment, rental, error.message)
            raise
        ours = _usable(found)
        for other in found if ours is not None else ():
            if other is not ours:
                await self._end(deployment, other)
        return ours

    async def _end(self, deployment: Deployment, other: Session) -> None:
        """One more than was asked for."""
        await deployment.note(f"the request made session {other.id}, too: destroying it", "warning")
        try:
            await self._releaser.release_session(other.id, deployment.progress, session=other)
        except ReleaseUnconfirmed as error:
            deployment.doubts.append(Doubt(other.id, other.provider, error.message))
            await deployment.note(f"{error.message}; {error.hint}", "warning")


async def uncertain(deployment: Deployment, rental: Rental, why: str, now: datetime) -> Rental:
    """No answer is expected from here on: other processes need not wait for one."""
    rental = replace(rental, billing=Billing.UNKNOWN)
    entry = ledger.entry(rental, LedgerKind.RENT_UNCERTAIN, now, why)
    await deployment.record.note(rental, entry)
    return rental


def cannot_tell(error: GdlError) -> ReleaseUnconfirmed:
    return ReleaseUnconfirmed(
        f"a machine may have been rented, and that cannot be found out: {error.message}", _LOOK
    )


def _usable(found: Sequence[Session]) -> Session | None:
    """The one of them to go on with: that runs, or will."""
    there = [s for s in found if not s.terminal and s.status is not SessionStatus.STOPPING]
    running = (s for s in there if s.status is SessionStatus.RUNNING)
    return next(running, there[0] if there else None)
