"""Releasing machines, and not believing it before it is proven."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend, ProvesAbsence
from gdl.domain import events as ev
from gdl.domain.errors import GdlError, ReleaseUnconfirmed
from gdl.domain.guard import end_words
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session
from gdl.journal import ledger, public_endpoints
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment, Doubt
from gdl.orchestrator.leasing.guards import Guards
from gdl.orchestrator.leasing.release_proof import (
    Evidence,
    Verdict,
    explained,
    judge,
    unconfirmed,
)
from gdl.orchestrator.leasing.release_record import (
    evidence_of,
    record_of,
    requested,
    with_evidence,
    with_requests_of,
)
from gdl.orchestrator.leasing.release_requests import ReleaseRequests, Tell
from gdl.orchestrator.leasing.rental_key import forget_files
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.settings import Settings

_USER_SAW = "the user looked at the marketplace's own console: it is not there"


class Releaser:
    """Releases what was rented, and keeps the journal's word about its billing."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._requests = ReleaseRequests(backend, settings, clock)
        self.guards = Guards(backend, journal, clock)

    async def aclose(self) -> None:
        await self._requests.aclose()
        await self.guards.aclose()

    # -- for a deployment ----------------------------------------------------------------------

    async def release(self, deployment: Deployment, rental: Rental) -> None:
        """Release a session and wait for the proof. Raises ReleaseUnconfirmed while the session is
        not over; one that is over without a proof goes to the deployment's doubts."""
        if rental.session_id is None or rental.released_at is not None:
            return
        if await self.told_as_released(deployment, rental):
            return
        rental = await self._request(with_requests_of(rental, await self._written(rental)))
        await deployment.record.note(rental)
        evidence = evidence_of(rental, requests_now=1)
        verdict = await self.bring_about(
            rental.session_id or "", evidence, deployment.progress, rental.label
        )
        rental = with_evidence(rental, evidence)
        if verdict.proven:
            gone = await self._written_off(rental, verdict.why)
            await deployment.record.note(gone)
            await self._tell_released(deployment, gone, verdict.why)
            return
        error = self._error(rental, evidence, verdict)
        await self.doubt(deployment, rental, explained(evidence, verdict))
        if not evidence.over:
            raise error
        await deployment.note(f"{error.message}; {error.hint}", "warning")

    async def told_as_released(self, deployment: Deployment, rental: Rental) -> bool:
        """Whether another process has released it meanwhile: it is told then."""
        if rental.released_at is not None or (written := await self._written(rental)).open:
            return False
        await deployment.record.note(written)
        ended = await self.guards.of(written)
        by = end_words(ended) if ended is not None else ""
        await self._tell_released(deployment, written, by or "another gdl-tui has released it")
        return True

    async def _tell_released(self, deployment: Deployment, rental: Rental, why: str) -> None:
        await deployment.emit(
            ev.BillingChanged(
                rental.attempt, rental.billing, rental.session_id, why, rental.released_at
            )
        )

    async def doubt(
        self,
        deployment: Deployment,
        rental: Rental,
        why: str,
        kind: LedgerKind = LedgerKind.RELEASE_UNCERTAIN,
    ) -> None:
        """Journal and say that nobody knows whether a machine still bills. The deployment's end
        will tell."""
        rental = await self._doubtful(rental, why, kind)
        await deployment.record.note(rental)
        if rental.session_id is not None and self._backend.traits.bills:
            one = Doubt(rental.session_id, rental.provider, why)
            others = [d for d in deployment.doubts if d.session_id != one.session_id]
            deployment.doubts[:] = [*others, one]
        await deployment.emit(
            ev.BillingChanged(rental.attempt, rental.billing, rental.session_id, why)
        )

    # -- for a session without a deployment in this process --------------------------------------

    async def release_session(
        self,
        session_id: str,
        tell: Tell | None = None,
        *,
        session: Session | None = None,
        first: Callable[[Rental], Awaitable[None]] | None = None,
    ) -> None:
        """Release a session and wait for the proof. session: as it was listed. first: what is to
        be ended on the machine before the backend is asked. Raises ReleaseUnconfirmed; it is
        looked after then."""
        rentals = await self._rentals_of(session_id, session)
        # A process that works on the machine knows from our record why it goes.
        asked = [
            await self._request(replace(r, billing=self._in_doubt), save=True) for r in rentals
        ]
        evidence = Evidence() if not asked else evidence_of(asked[0], requests_now=1)
        try:
            if first is not None and asked:
                await first(asked[0])
            label = asked[0].label if asked else ""  # never of what others have rented
            verdict = await self.bring_about(session_id, evidence, tell, label)
        except BaseException:
            await uninterrupted(self._not_awaited(rentals, asked, evidence))
            raise
        if verdict.proven:
            await self.settle(session_id, verdict.why)
            return
        why = explained(evidence, verdict)
        asked = [with_evidence(r, evidence) for r in asked]
        after = evidence.after
        if after is not None and not after.terminal and after.has_machine:
            await self._take_back(rentals, asked, why)
        else:
            for rental in asked:
                await self.save(await self._doubtful(rental, why))
        raise self._error(asked[0] if asked else None, evidence, verdict, session_id)

    async def _not_awaited(
        self, were: Sequence[Rental], asked: Sequence[Rental], evidence: Evidence
    ) -> None:
        """Whoever asked did not wait for the end, which may have been cut off in its middle."""
        why = "its end was requested, and nobody waited for the answer"
        if not evidence.requests:
            await self._take_back(were, asked, why)
            return
        for rental in asked:
            seen = replace(rental, seen=evidence.seen, error_before=evidence.error_before)
            await self.save(await self._doubtful(seen, why))

    async def settle(self, session_id: str, why: str) -> None:
        """Write off whatever the journal holds of a session that is gone. why: what proves it."""
        for rental in await self._open_of(session_id):
            await self.save(await self._written_off(rental, why))

    async def seen_gone(self, session_id: str, session: Session | None = None) -> None:
        """The user has looked at the marketplace's own console, and it is not there. Raises
        ReleaseUnconfirmed where the marketplace has it in its list all the same."""
        rentals = await self._rentals_of(session_id, session)
        if await self._listed(session_id, rentals[0].label if rentals else ""):
            raise ReleaseUnconfirmed(
                f"the marketplace lists session {session_id}, so it is billing",
                f"request its end again: `gdl-tui destroy {session_id}`",
            )
        for rental in rentals:
            await self.save(await self._written_off(rental, _USER_SAW))

    async def _listed(self, session_id: str, label: str) -> bool:
        """Whether a marketplace that can prove absence proves the contrary. False where it cannot
        be asked: then the user's word is all there is."""
        with contextlib.suppress(GdlError):
            if isinstance(self._backend, ProvesAbsence):
                return not await self._backend.absent(session_id, label)
        return False

    async def look_again(self, rental: Rental, session: Session | None) -> bool:
        """Whether an end that was asked for earlier is proven by how its session is now (None: the
        backend does not know it). Where absence can be proven, that is asked for instead, and
        proves an end that nobody here has asked for as well. Raises GdlError."""
        evidence = evidence_of(rental)
        if isinstance(self._backend, ProvesAbsence):
            evidence.listed = not await self._backend.absent(rental.session_id or "", rental.label)
        elif session is None:
            evidence.gone = evidence.unknown_before = True
        else:
            evidence.look(session)
            evidence.reserved_over = session.time_over(self._clock())
        verdict = self._judge(evidence)
        asked = evidence.requested_before or evidence.listed is False
        if not asked or not verdict.proven:
            return False
        unasked = not evidence.requested_before
        await self.save(await self._written_off(rental, verdict.why, unasked=unasked))
        return True

    async def bring_about(
        self, session_id: str, evidence: Evidence, tell: Tell | None = None, label: str = ""
    ) -> Verdict:
        """Ask for the end of a session, and of what else bears its label; judge what was seen."""
        await self._requests.bring_about(session_id, evidence, tell, label)
        return self._judge(evidence)

    def _judge(self, evidence: Evidence) -> Verdict:
        traits = self._backend.traits
        if not traits.bills:
            return Verdict(evidence.over, judge(evidence).why)
        if evidence.unknown_before and not traits.outlives_program:
            return Verdict(True, "the market that it was rented from has ended")
        return judge(evidence)

    # -- the journal -----------------------------------------------------------------------------

    @property
    def _in_doubt(self) -> Billing:
        return Billing.UNKNOWN if self._backend.traits.bills else Billing.NONE

    async def _written(self, rental: Rental) -> Rental:
        """A rental as another process may have journaled it meanwhile."""
        try:
            rentals = await self._journal.rentals()
        except GdlError:
            return rental
        return next((r for r in rentals if r.intent_id == rental.intent_id), rental)

    async def _rentals_of(self, session_id: str, session: Session | None) -> list[Rental]:
        """Our open ones of a session; one that is made for it where the journal has none, so that
        it is looked after."""
        found = await self._open_of(session_id)
        if found or session is None or not self._backend.traits.bills:
            return found
        return [record_of(session, self._backend, self._clock())]

    async def _open_of(self, session_id: str) -> list[Rental]:
        subject = (self._backend.name, session_id)
        return [r for r in await self._journal.rentals() if r.subject == subject and r.open]

    async def _request(self, rental: Rental, *, save: bool = False) -> Rental:
        """The end is being asked for: journaled before the request goes out."""
        rental = requested(rental, self._clock())
        if save:
            await self.save(rental)
        await self.enter(rental, LedgerKind.RELEASE_REQUESTED, "asking the backend to end it")
        return rental

    async def _take_back(self, were: Sequence[Rental], asked: Sequence[Rental], why: str) -> None:
        """The end did not come: whoever works on the machine is not to believe that it did."""
        now = {r.intent_id: r for r in await self._journal.rentals()}
        for was, rental in zip(were, asked, strict=True):
            written = now.get(was.intent_id, was)
            if written.billing is self._in_doubt and written.released_at is None:
                await self.enter(rental, LedgerKind.RELEASE_UNCERTAIN, why)
                bills = self._backend.traits.bills
                await self.save(replace(rental, billing=was.billing, doubt=why) if bills else was)

    async def _doubtful(
        self, rental: Rental, why: str, kind: LedgerKind = LedgerKind.RELEASE_UNCERTAIN
    ) -> Rental:
        await self.enter(rental, kind, why)
        return replace(rental, billing=self._in_doubt, doubt=why)

    async def settled_elsewhere(self, rental: Rental) -> bool:
        """Whether another process has released this session meanwhile, or is doing so, at its
        user's wish."""
        written = await self._written(rental)
        if self._backend.traits.bills:
            asked = written.billing is Billing.UNKNOWN and rental.billing is Billing.ACTIVE
        else:
            asked = written.release_requests > rental.release_requests
        return written.released_at is not None or asked

    async def _written_off(self, rental: Rental, why: str, *, unasked: bool = False) -> Rental:
        """The rental of a session that is gone. Its keys, which open nothing any more, go too. A
        key that the user named stays, also where it is the one of another rental. unasked: nobody
        here had asked for its end, so that its guard may have."""
        at = self._clock()
        if unasked and (ended := await self.guards.end_of(rental)) is not None:
            at, why = ended.ended_at or at, f"{end_words(ended, at)}; {why}"
        await self.enter(rental, LedgerKind.RELEASED, why, at)
        await asyncio.to_thread(forget_files, self._settings.keys_dir, rental)
        self.guards.revoke_later(rental)
        with contextlib.suppress(GdlError):
            await public_endpoints.forget(self._journal, rental.session_id or "")
        return replace(
            rental,
            billing=Billing.RELEASED if self._backend.traits.bills else Billing.NONE,
            released_at=at,
            key_file="",
            api_key_file="",
            doubt="",
            ended_in_doubt=False,
        )

    async def enter(
        self, rental: Rental, kind: LedgerKind, evidence: str, at: datetime | None = None
    ) -> None:
        """Into the ledger, where something is billed at all. A machine is released also when that
        cannot be written. at: when it was, if not now."""
        if not self._backend.traits.bills:
            return
        with contextlib.suppress(GdlError):
            one = ledger.entry(rental, kind, at or self._clock(), evidence)
            await ledger.add(self._journal, one)

    async def save(self, rental: Rental) -> None:
        """What happened has happened, whether or not the journal takes it; the channel tells
        when it does not."""
        with contextlib.suppress(GdlError):
            await self._journal.save(rental)

    def _error(
        self, rental: Rental | None, evidence: Evidence, verdict: Verdict, session_id: str = ""
    ) -> ReleaseUnconfirmed:
        ident = session_id or (rental.session_id if rental else None) or ""
        if not self._backend.traits.bills:
            return ReleaseUnconfirmed(
                f"session {ident} could not be released: {verdict.why}",
                "log in to the machine and end what runs there",
            )
        provider = rental.provider if rental else ""
        return unconfirmed(ident, provider, explained(evidence, verdict))
