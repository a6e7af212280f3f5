"""An offer that the same consumer has rented already: whose session is it?"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import GdlError, SessionExists
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import RentAnswer
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.release_proof import explained, unconfirmed
from gdl.orchestrator.leasing.release_record import evidence_of, with_evidence
from gdl.orchestrator.leasing.releasing import Releaser

_BLOCKS = "it blocks an offer, and does not belong to any request of ours"


class Takeover:
    """Adopts what a dead process of ours left behind; clears away what nobody can enter; leaves
    alone what somebody uses."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        releaser: Releaser,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._releaser = releaser
        self._clock = clock

    async def adopt(
        self, deployment: Deployment, intent: Rental, error: SessionExists
    ) -> RentAnswer | None:
        """A rented on the session when its key is ours and nobody uses it; None when its key is
        lost. Raises SessionExists when it is to be left alone."""
        rentals = await self._journal.rentals()
        subject = (self._backend.name, error.session_id)
        owned = next((r for r in rentals if r.subject == subject and r.open), None)
        if owned is None:
            await self._refuse_in_flight(rentals, intent, error)
            return None
        if await self._in_use(owned):
            raise _left_alone(error, f"deployment {owned.deployment_id} uses it")
        if not owned.key_file or not await asyncio.to_thread(Path(owned.key_file).is_file):
            return None
        try:
            session = await self._backend.session(error.session_id)
        except GdlError as trouble:
            raise _left_alone(error, trouble.message) from None
        if session.terminal:
            return None
        if not await self._journal.claim(owned, deployment.id, deployment.attempt):
            raise _left_alone(error, "another process has just taken it over")
        taken = replace(
            owned,
            deployment_id=deployment.id,
            attempt=deployment.attempt,
            billing=Billing.ACTIVE,
            model=intent.model,
            served_name=intent.served_name,
            engine=intent.engine,
        )
        deployment.adopted = True
        why = f"taken over from deployment {owned.deployment_id}, whose program is gone"
        entry = ledger.entry(
            taken, LedgerKind.RENTED, self._clock(), why, service_at=session.created_at
        )
        await deployment.record.note(taken, entry)
        await deployment.note(
            f"session {session.id} was rented by a gdl-tui that is gone, and its key is here:"
            " taking it over"
        )
        await deployment.emit(
            ev.BillingChanged(deployment.attempt, Billing.ACTIVE, session.id, "taken over")
        )
        await deployment.emit(
            ev.SessionRented(
                deployment.attempt, session.id, taken.provider, taken.price, session.expires_at
            )
        )
        return RentAnswer(session, identity_file=owned.key_file)

    async def _refuse_in_flight(
        self, rentals: list[Rental], intent: Rental, error: SessionExists
    ) -> None:
        """Another live request for this offer may be waiting for its answer at this moment."""
        for rental in rentals:
            same = rental.offer_id == intent.offer_id and rental.backend == intent.backend
            waits = rental.session_id is None and rental.billing is Billing.REQUESTED
            if same and waits and rental.intent_id != intent.intent_id:
                row = await self._journal.deployment(rental.deployment_id)
                if row is not None and process_liveness.runs(row):
                    raise _left_alone(error, f"deployment {rental.deployment_id} is renting it")

    async def _in_use(self, owned: Rental) -> bool:
        """Kept serving on purpose, or held by a live process."""
        holders = await self._journal.holders(owned.session_id or "")
        return any(process_liveness.holds(holder) for holder in holders)

    async def clear(self, deployment: Deployment, intent: Rental, error: SessionExists) -> None:
        """Release a session that blocks the offer and that nobody can enter. Raises
        ReleaseUnconfirmed."""
        await deployment.note(
            f"session {error.session_id} blocks this offer and its key is lost: releasing it",
            "warning",
        )
        blocking = await self._blocking(intent, error.session_id)
        evidence = evidence_of(blocking)
        await self._releaser.enter(
            blocking, LedgerKind.RELEASE_REQUESTED, "asking the backend to end it"
        )
        verdict = await self._releaser.bring_about(error.session_id, evidence, deployment.progress)
        if verdict.proven:
            await self._releaser.settle(error.session_id, verdict.why)
            return
        blocking = replace(with_evidence(blocking, evidence), release_requests=1)
        await self._releaser.doubt(deployment, blocking, explained(evidence, verdict))
        if not evidence.over:
            raise unconfirmed(error.session_id, intent.provider, explained(evidence, verdict))
        deployment.record.clear()

    async def _blocking(self, intent: Rental, session_id: str) -> Rental:
        """Our record of the session, else a new one: of no deployment, as nobody knows who asked
        for it. The intent goes on to be what is rented next."""
        for rental in reversed(await self._journal.rentals()):
            if rental.subject == (self._backend.name, session_id) and rental.open:
                return rental
        found = replace(
            intent,
            intent_id=uuid.uuid4().hex,
            deployment_id="",
            session_id=session_id,
            billing=Billing.UNKNOWN,
            doubt=_BLOCKS,
        )
        entry = ledger.entry(found, LedgerKind.RENT_UNCERTAIN, self._clock(), _BLOCKS)
        with contextlib.suppress(GdlError):  # it is released also when that cannot be written
            await self._journal.save(found, ledger.statement(entry))
        return found


def _left_alone(error: SessionExists, why: str) -> SessionExists:
    return SessionExists(error.session_id, f"{error.message}; {why}")
