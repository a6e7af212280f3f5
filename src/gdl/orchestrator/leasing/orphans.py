"""What processes that are gone left behind: rent requests without an answer, deployments without
an end, ends without a proof. Nothing is destroyed here whose end nobody has asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.backends.base import Backend, FindsByLabel, ProvesAbsence
from gdl.domain.errors import BackendRefused, GdlError, SessionGone
from gdl.domain.judging import alike
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session
from gdl.journal import ledger
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.ambiguous import MAY_BE_MADE, may_be_made
from gdl.orchestrator.leasing.guarded_ends import settle_guarded
from gdl.orchestrator.leasing.release_record import record_of
from gdl.orchestrator.leasing.releasing import Releaser
from gdl.orchestrator.leasing.rental_key import answered_by, forget_key
from gdl.settings import Settings

_CLOCKS_DIFFER = timedelta(minutes=2)
_MOST_REQUESTS = 5
"""How often an end is asked for that is never proven."""
_FOUND = "the program that asked is gone; the backend lists what fits its request"
_NOTHING_CAME = "the program that asked is gone, and the backend lists no machine for it"
_MADE_LATE = "its label shows that one of our requests created it, later than expected"
_LISTED_AGAIN = "it was missing from the marketplace's lists and is back: it was not gone"
_LATE = timedelta(seconds=60)
"""A request younger than this may still be at work in the backend."""


class Orphans:
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

    async def settle(self, listed: Sequence[Session] | None = None) -> list[Rental]:
        """Find out what became of unanswered requests whose process is gone, as far as the backend
        tells. Returns the rentals that dead processes left open. `listed`: the backend's sessions,
        asked for when they are needed. Raises GdlError when journal or backend cannot be asked."""
        if not self._backend.traits.bills:
            return []
        await settle_guarded(self._releaser, await self._mine())
        by_label = isinstance(self._backend, FindsByLabel)
        proves = isinstance(self._backend, ProvesAbsence)
        if listed is None and by_label and await self._mine():
            listed = await self._backend.sessions()
        if listed is not None and by_label:
            await self._made_late(listed)
        if listed is not None and proves:
            await self._listed_again(listed)
        left = await self._left_open()
        unanswered = [r for r in left if r.session_id is None]
        # Where absence can be proven, an end that nobody here has asked for is found out, too.
        unproven = [r for r in left if r.session_id is not None and (r.release_requests or proves)]
        if listed is None and (unanswered or (unproven and not proves)):
            listed = await self._backend.sessions()
        by_id = {s.id: s for s in listed or ()}
        proven = [await self._proven(rental, by_id) for rental in unproven]
        await self._settle_all(unanswered, by_id.values())
        return await self._left_open() if unanswered or any(proven) else left

    async def _settle_all(self, unanswered: Sequence[Rental], listed: Iterable[Session]) -> None:
        """What became of requests without an answer."""
        if isinstance(self._backend, FindsByLabel):
            for rental in unanswered:
                made = await self._backend.labelled(rental.label) if rental.label else ()
                await self._settle(rental, list(made))
            return
        rentals = await self._mine() if unanswered else []
        taken = {r.session_id for r in rentals if r.session_id}
        dead = {r.intent_id for r in unanswered}
        # A live request waits for its answer: what is new may be its own.
        in_flight = {
            r.provider
            for r in rentals
            if r.billing is Billing.REQUESTED and not r.session_id and r.intent_id not in dead
        }
        for rental in unanswered:
            if not any(alike(rental.provider, other) for other in in_flight):
                found = await self._settle(rental, [s for s in listed if s.id not in taken])
                taken |= {found} if found else set()

    async def ask_again(self) -> None:
        """Ask once more for the ends that dead processes asked for and that are not proven."""
        for rental in await self.settle():
            tried = rental.release_requests
            if rental.session_id is None or not 0 < tried < _MOST_REQUESTS:
                continue
            with contextlib.suppress(GdlError):
                await self._releaser.release_session(rental.session_id)

    async def _proven(self, rental: Rental, listed: Mapping[str, Session]) -> bool:
        """Whether an end that was asked for is proven by now, without asking again."""
        assert rental.session_id is not None
        session = listed.get(rental.session_id)
        if isinstance(self._backend, ProvesAbsence):
            # What was just made may be missing from the list; whose end was asked for may not.
            early = self._clock() - rental.requested_at < _LATE and not rental.release_requests
            if session is not None or early:
                return False
            try:
                return await self._releaser.look_again(rental, None)
            except BackendRefused:
                return False  # another account's machine, say: it stays open
        if session is None:
            try:
                session = await self._backend.session(rental.session_id)
            except SessionGone:
                session = None
        return await self._releaser.look_again(rental, session)

    async def _made_late(self, listed: Sequence[Session]) -> None:
        """What requests of ours have made after they were given up, or beside what they were known
        to have made: their labels tell. It is looked after from here on."""
        rentals = await self._mine()
        taken = {r.session_id for r in rentals if r.session_id}
        waiting = {r.label for r in rentals if r.session_id is None and r.open}
        ours = {r.label: r for r in rentals if r.label and r.label not in waiting}
        for session in listed:
            rental = ours.get(session.label)
            if rental is None or session.id in taken:
                continue
            found = record_of(session, self._backend, self._clock())
            if rental.session_id is None:
                found = await answered_by(rental, session, self._settings.keys_dir)
            await self._write(found, LedgerKind.RENTED, _MADE_LATE, session)

    async def _listed_again(self, listed: Sequence[Session]) -> None:
        """A machine that was in no list, and was released by that, is in the list again: it bills,
        whatever was said of it."""
        there = {s.id: s for s in listed}
        for rental in await self._mine():
            session = there.get(rental.session_id or "")
            if session is None or rental.billing is not Billing.RELEASED:
                continue
            rental = replace(rental, billing=Billing.ACTIVE, released_at=None)
            await self._write(rental, LedgerKind.RELEASE_UNCERTAIN, _LISTED_AGAIN, session)

    async def _left_open(self) -> list[Rental]:
        """Open rentals of this backend whose deployment neither runs nor was kept on purpose."""
        rows = {row.id: row for row in await self._journal.deployments()}
        for row in rows.values():
            if not row.outcome and not process_liveness.runs(row):
                await self._journal.set_outcome(row.id, "interrupted", 0)
        found = []
        for rental in await self._mine():
            if not rental.open or await self._in_hand(rental, rows.get(rental.deployment_id)):
                continue
            found.append(rental)
        return found

    async def _mine(self) -> list[Rental]:
        return await self._journal.rentals(self._backend.name, self._backend.service_url)

    async def _in_hand(self, rental: Rental, holder: DeploymentRow | None) -> bool:
        """Whether a live process works on it, or it was left serving on purpose and nobody has
        asked for its end since."""
        holders = [holder] if holder is not None else []
        if rental.session_id:
            holders += await self._journal.holders(rental.session_id)
        if rental.billing is Billing.UNKNOWN:
            return any(process_liveness.runs(each) for each in holders)
        return any(process_liveness.holds(each) for each in holders)

    async def _settle(self, rental: Rental, sessions: list[Session]) -> str | None:
        """A request without an answer: made nothing, made one session, or nobody can say. The
        id of that one session."""
        fitting = [s for s in sessions if self._may_be(s, rental)]
        # What bears a label bills as long as it is listed, whatever its state.
        sure = isinstance(self._backend, FindsByLabel)
        may_be = [s for s in fitting if sure or not s.terminal]
        broken = [s for s in fitting if may_be_made(s)]
        if not may_be and broken:
            why = f"its rent request was cut off or failed ({broken[0].error}): {MAY_BE_MADE}"
            rental = replace(rental, session_id=broken[0].id, billing=Billing.UNKNOWN, doubt=why)
            await self._write(rental, LedgerKind.RENT_UNCERTAIN, why, broken[0])
            return broken[0].id
        if not may_be:
            if self._clock() - rental.requested_at > _LATE:
                rental = replace(rental, billing=Billing.NONE)
                await self._write(rental, LedgerKind.NOT_RENTED, _NOTHING_CAME)
                await forget_key(self._settings.keys_dir, rental)
            return None
        if len(may_be) > 1 and not sure:
            return None
        rental = await answered_by(rental, may_be[0], self._settings.keys_dir)
        why = f"{_FOUND}; its key is {'here' if rental.key_file else 'lost'}"
        await self._write(rental, LedgerKind.RENTED, why, may_be[0])
        return may_be[0].id

    async def _write(
        self, rental: Rental, kind: LedgerKind, why: str, session: Session | None = None
    ) -> None:
        created = None if session is None else session.created_at
        entry = ledger.entry(rental, kind, self._clock(), why, service_at=created)
        await self._journal.save(rental, ledger.statement(entry))

    def _may_be(self, session: Session, rental: Rental) -> bool:
        if isinstance(self._backend, FindsByLabel):
            return bool(rental.label) and session.label == rental.label
        if not alike(session.provider, rental.provider):
            return False
        if session.created_at is None:
            return True
        latest = rental.requested_at + timedelta(seconds=self._settings.timeouts.rent)
        earliest = rental.requested_at - _CLOCKS_DIFFER
        return earliest <= session.created_at <= latest + _CLOCKS_DIFFER


def summary(left: Sequence[Rental]) -> str:
    """One line about rentals that dead processes left open; "" without any."""
    names = [r.session_id for r in left if r.session_id and not r.doubt]
    said = []
    if names:
        said.append(f"still rented by a gdl-tui that is no longer running: {_few(names)}")
    if doubts := [r.session_id for r in left if r.session_id and r.doubt]:
        said.append(f"may still be billing: {_few(doubts)}")
    return "; ".join(said)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


async def summary_or_nothing(orphans: Orphans) -> str:
    """`summary` of what there is, "" when that cannot be found out now."""
    try:
        return summary(await orphans.settle())
    except GdlError:
        return ""
