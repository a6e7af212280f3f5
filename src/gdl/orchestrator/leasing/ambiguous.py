"""After a rent request whose answer is not known: find out whether it made a machine.

Where a backend keeps labels, the request's own label says. Elsewhere, what is new in its list since
before the request, has no place in the journal and fits the offer is ours, as long as no other
request of the same consumer is under way; while one is, it is waited for. What is new and does not
fit is left alone, and said to be in doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import GdlError, ReleaseUnconfirmed, RentAmbiguous
from gdl.domain.judging import alike
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.ledger import LedgerKind
from gdl.domain.offers import Offer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.labelled import LATE_ROW_S, LabelledRents, cannot_tell, uncertain
from gdl.orchestrator.leasing.release_proof import Evidence, explained, unconfirmed, what_to_do
from gdl.orchestrator.leasing.release_record import with_evidence
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.rent_proof import made_nothing
from gdl.orchestrator.leasing.retry import retrying
from gdl.settings import Settings

_CLOCKS_DIFFER = timedelta(minutes=2)
MAY_BE_MADE = "a machine may have been created anyway"
_FOUND = "it is in the backend's list, though the request was not answered; its key is not here"
_LOOK = "look at the marketplace's own console, then run `gdl-tui sessions`"


@dataclass(frozen=True, slots=True)
class _Sight:
    """found: sessions that this request may have made. in_flight: whether another live request may
    have made them. unanswered: how many requests, ours included, have no answer to expect.
    strange: new sessions that do not fit the offer, if the backend tells of both as they are.
    others: whether another live request may have made those."""

    found: tuple[Session, ...]
    in_flight: bool
    unanswered: int
    strange: tuple[Session, ...]
    others: bool

    @property
    def certain(self) -> bool:
        return bool(self.found) and not self.in_flight and len(self.found) <= self.unanswered


class AmbiguousRents:
    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        releaser: Releaser,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._releaser = releaser
        self._clock = clock
        self.labelled = LabelledRents(backend, settings, releaser, clock)

    async def resolve(
        self,
        deployment: Deployment,
        rental: Rental,
        offer: Offer,
        before: set[str],
        why: GdlError,
        *,
        late: bool = True,
        broken: bool | None = None,
    ) -> bool:
        """Find out what the request has made, and destroy that, as its key is lost. Whether
        nothing of it is left for certain; else it is among the deployment's doubts. late: a
        session may still turn up. broken: a machine may have been made whose session failed;
        None: as `late`. Raises ReleaseUnconfirmed when it cannot be found out."""
        if not self._backend.traits.bills:
            await self.forget(deployment, rental, why=why.message)
            return True
        await deployment.progress(f"{why.message}: asking whether a machine exists")
        rental = await uncertain(deployment, rental, why.message, self._clock())
        try:
            found = await self._named(why)
            if not found:
                found = await self._find(deployment, rental, offer, before, late)
            proven = [await self._destroy(deployment, rental, session) for session in found]
            broken = (late if broken is None else broken) and not self.labelled.kept(rental)
            if broken and not found and (row := await self._broken(rental, offer, before)):
                await self._made_without_answer(deployment, rental, row)
                return False
        except ReleaseUnconfirmed as error:
            await self._releaser.doubt(deployment, deployment.rental or rental, error.message)
            raise
        if not all(proven):
            deployment.record.clear()
            return False
        seen = f"{why.message}; the backend lists no machine for it"
        await self.forget(deployment, rental, made=bool(found), why=seen)
        return True

    async def _broken(self, rental: Rental, offer: Offer, before: set[str]) -> Session | None:
        """The session of a request that failed while the machine was being made, so that it may
        be there all the same. The backend writes a session before it asks the marketplace: where
        there is none, nothing was asked of it."""
        try:
            sessions = await self._backend.sessions()
            rentals = await self._journal.rentals(self._backend.name, self._backend.service_url)
        except GdlError as error:
            raise cannot_tell(error) from None
        taken = {r.session_id for r in rentals if r.session_id}
        new = (s for s in sessions if s.id not in before | taken and s.terminal)
        return next((s for s in new if fits(s, offer) and may_be_made(s)), None)

    async def _made_without_answer(
        self, deployment: Deployment, rental: Rental, row: Session
    ) -> None:
        why = f"the marketplace's answer to the rent request failed ({row.error}): {MAY_BE_MADE}"
        doubtful = replace(rental, session_id=row.id)
        await self._releaser.doubt(deployment, doubtful, why, LedgerKind.RENT_UNCERTAIN)
        await deployment.note(
            f"session {row.id}: {why}; {what_to_do(row.id, row.provider)}", "warning"
        )
        deployment.record.clear()

    async def before(self, rental: Rental) -> set[str]:
        """Ids of the sessions that a request cannot have made, as they are older than that."""
        since = rental.requested_at - _CLOCKS_DIFFER
        sessions = await self._backend.sessions()
        return {s.id for s in sessions if s.created_at is not None and s.created_at < since}

    async def made_by(
        self, deployment: Deployment, rental: Rental, offer: Offer, before: set[str]
    ) -> Session | None:
        """The session that a request has made whose answer nobody heard; None when there is none.
        Raises ReleaseUnconfirmed when that cannot be found out."""
        found = await self._find(deployment, rental, offer, before, late=True)
        if len(found) > 1:
            raise _undecided(found)
        return found[0] if found else None

    async def _named(self, why: GdlError) -> tuple[Session, ...]:
        """The session that an answer named though it could not be used."""
        if not isinstance(why, RentAmbiguous) or why.session_id is None:
            return ()
        try:
            return (await self._backend.session(why.session_id),)
        except GdlError:
            return ()

    async def _find(
        self, deployment: Deployment, rental: Rental, offer: Offer, before: set[str], late: bool
    ) -> tuple[Session, ...]:
        """Raises ReleaseUnconfirmed when the list cannot be had, or cannot be told apart."""
        if self.labelled.kept(rental):
            return await self.labelled.find(deployment, rental, late=late)
        timeouts = self._settings.timeouts
        started = time.monotonic()
        pauses = Backoff(0.2, 2.0, growth=RETRYING)
        while True:
            sight = await self._look(deployment, rental, offer, before)
            waited = time.monotonic() - started
            if sight.certain:
                return sight.found
            no_more = not late or waited >= min(LATE_ROW_S, timeouts.session / 10)
            if no_more and not sight.found and not (late and sight.strange):
                return ()
            busy = sight.in_flight if sight.found else sight.others or not no_more
            if (sight.found or sight.strange) and (not busy or waited >= timeouts.rent):
                raise _undecided(sight.found or sight.strange)
            await asyncio.sleep(next(pauses))

    async def _look(
        self, deployment: Deployment, rental: Rental, offer: Offer, before: set[str]
    ) -> _Sight:
        # The list before the journal: an intent is journaled before its session can be listed,
        # so whatever another process has made by now is known to be (or to become) its own.
        try:
            sessions = await retrying(
                self._backend.sessions,
                deployment.progress,
                limit_s=self._settings.timeouts.release,
            )
            rentals = await self._journal.rentals(self._backend.name, self._backend.service_url)
        except GdlError as error:
            raise cannot_tell(error) from None
        others = [r for r in rentals if r.intent_id != rental.intent_id]
        taken = {r.session_id for r in others if r.session_id}
        new = [s for s in sessions if s.id not in before | taken and not s.terminal]
        found = [s for s in new if fits(s, offer)]
        strange = tuple(s for s in new if not fits(s, offer))
        # What asked long ago has not made what is new now.
        since = self._clock() - timedelta(seconds=self._settings.timeouts.rent + 60)
        waiting = [r for r in others if r.session_id is None and r.requested_at >= since]
        in_flight, elsewhere, unanswered = False, False, 1
        for each in waiting:
            same = alike(each.provider, rental.provider)
            if each.billing is Billing.REQUESTED and await self._lives(each):
                in_flight, elsewhere = in_flight or same, True
            elif each.billing in (Billing.REQUESTED, Billing.UNKNOWN):
                unanswered, elsewhere = unanswered + same, True
        return _Sight(
            _likeliest(found, offer, unanswered), in_flight, unanswered, strange, elsewhere
        )

    async def _lives(self, rental: Rental) -> bool:
        row = await self._journal.deployment(rental.deployment_id)
        return row is not None and process_liveness.runs(row)

    async def _destroy(self, deployment: Deployment, rental: Rental, session: Session) -> bool:
        """Whether it is proven that its machine is gone. Raises ReleaseUnconfirmed while the
        session is not over."""
        await deployment.note(
            f"session {session.id} exists but its key is lost: destroying it", "warning"
        )
        rental = replace(
            rental, session_id=session.id, price=session.price_per_hour or rental.price
        )
        entry = ledger.entry(
            rental, LedgerKind.RENTED, self._clock(), _FOUND, service_at=session.created_at
        )
        await deployment.record.note(rental, entry)
        # It cost something, and its events are to tell it.
        await deployment.emit(
            ev.SessionRented(
                deployment.attempt,
                session.id,
                session.provider,
                rental.price,
                session.expires_at,
                since=session.created_at,
            )
        )
        rental = replace(rental, session_id=session.id, release_requests=1)
        evidence = Evidence()
        await self._releaser.enter(
            rental, LedgerKind.RELEASE_REQUESTED, "asking the backend to end it"
        )
        verdict = await self._releaser.bring_about(session.id, evidence, deployment.progress)
        if verdict.proven:
            await self._releaser.enter(rental, LedgerKind.RELEASED, verdict.why)
            return True
        if not evidence.over:
            raise unconfirmed(session.id, session.provider, explained(evidence, verdict))
        why = explained(evidence, verdict)
        await self._releaser.doubt(deployment, with_evidence(rental, evidence), why)
        await deployment.note(
            f"session {session.id} may still be billing: {why};"
            f" {what_to_do(session.id, session.provider)}",
            "warning",
        )
        return False

    async def forget(
        self, deployment: Deployment, rental: Rental, *, made: bool = False, why: str = ""
    ) -> None:
        """Nothing is rented by this request (any more). made: something was, and was destroyed.
        why: what the request was answered with."""
        rental = replace(rental, billing=Billing.NONE, session_id=None)
        entry = None
        if self._backend.traits.bills and not made:
            entry = ledger.entry(rental, LedgerKind.NOT_RENTED, self._clock(), why)
        await deployment.record.settle(rental, entry)
        billing = Billing.RELEASED if made else Billing.NONE
        words = "the machine that it created is destroyed" if made else "nothing was rented"
        await deployment.emit(ev.BillingChanged(deployment.attempt, billing, None, words))


def may_be_made(session: Session) -> bool:
    """Whether a session that failed may have a machine all the same: one that nobody has told of,
    or one of which its backend has lost sight. Nobody has asked for its end."""
    return session.status is SessionStatus.FAILED and not made_nothing(session.error or "")


def _undecided(sessions: Iterable[Session]) -> ReleaseUnconfirmed:
    names = ", ".join([s.id for s in sessions][:5])
    return ReleaseUnconfirmed(
        f"the request whose answer did not arrive may have made {names}, or somebody else has",
        f"`gdl-tui sessions` shows them; destroy what is nobody's, or {_LOOK}",
    )


def fits(session: Session, offer: Offer) -> bool:
    """Whether a session may have been made from an offer, by what the backend tells of both."""
    return (
        alike(session.provider, offer.provider)
        and alike(session.gpu_name, offer.gpu_name)
        and session.gpu_count in (offer.gpu_count, 0)
    )


def _likeliest(found: Iterable[Session], offer: Offer, unanswered: int) -> tuple[Session, ...]:
    """Those at the offer's price, where there are more than can be ours."""
    all_of_them = tuple(found)
    if len(all_of_them) <= unanswered:
        return all_of_them
    same = tuple(s for s in all_of_them if abs(s.price_per_hour - offer.price_per_hour) < 0.005)
    return same or all_of_them
