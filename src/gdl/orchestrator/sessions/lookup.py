"""Sessions beyond this process's deployments: list them, and find the one that is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend, Extends, ProvesAbsence
from gdl.domain.errors import BackendError, GdlError, UsageError
from gdl.domain.id_matching import matching
from gdl.domain.ledger import is_simulated
from gdl.domain.money import for_time
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.journal.store import Journal
from gdl.orchestrator.api.session_ids import named, none_or_several, not_one
from gdl.orchestrator.api.views import SessionRow
from gdl.orchestrator.leasing.markets import Leasing, Markets
from gdl.orchestrator.sessions.guarded import refuse_ended, with_guards
from gdl.orchestrator.sessions.stand_in import stand_in


class SessionLookup:
    def __init__(
        self,
        markets: Markets,
        journal: Journal,
        clock: Callable[[], datetime],
    ) -> None:
        self._markets = markets
        self._journal = journal
        self._clock = clock
        self.away: dict[str, str] = {}
        """Backends that did not answer when their sessions were last asked for, and why; and those
        that were not asked at all, where what our journal has of them may be billing."""

    # -- listing ---------------------------------------------------------------------------------

    async def rows(self) -> list[SessionRow]:
        """Everything this consumer has rented, ours or not, backend by backend; then what only our
        journal knows. Raises BackendError when none of the backends answers; of one of several, the
        journal tells."""
        answers, away = await self._markets.ask_all(lambda backend: backend.sessions())
        silent = {name: error.message for name, error in away.items()}
        self.away = {**silent, **await self._not_asked()}
        if not answers:
            error = next(iter(away.values()))
            await self._tell_unseen(error)
            raise error
        listed: list[SessionRow] = []
        unlisted: list[SessionRow] = []
        for each in self._markets.all:
            if (error_of := away.get(each.name)) is not None:
                unlisted += [self._row(_unknown(r, error_of), r) for r in await _rented(each)]
            else:
                known, unknown = await self._rows_of(each, answers[each.name])
                listed, unlisted = listed + known, unlisted + unknown
        return listed + unlisted

    async def _not_asked(self) -> dict[str, str]:
        """A shell without a marketplace's key, or another --backend, is to hide nothing."""
        if self._markets.simulated:
            return {}
        found: dict[str, list[str]] = {}
        for rental in await self._journal.rentals():
            elsewhere = rental.backend not in self._markets.names
            if elsewhere and rental.may_bill and not is_simulated(rental.backend):
                what = rental.session_id or rental.label or rental.offer_id
                found.setdefault(rental.backend, []).append(what)
        return {
            name: f"it was not asked, and {', '.join(rented)} may be billing there:"
            f" set its key, and use `--backend {name}`"
            for name, rented in found.items()
        }

    async def _rows_of(
        self, leasing: Leasing, listed: Sequence[Session]
    ) -> tuple[list[SessionRow], list[SessionRow]]:
        """Of one backend: what it lists, and what it does not."""
        try:
            await leasing.orphans.settle(listed)
        except BackendError:  # it has just answered: what is settled can wait
            if not self._markets.several:
                raise
        rentals = await leasing.rentals()
        by_session = {r.session_id: r for r in reversed(rentals) if r.session_id}
        rows = [self._row(session, by_session.get(session.id)) for session in listed]
        known = {session.id for session in listed}
        unlisted = [r for r in rentals if r.session_id and r.session_id not in known and r.open]
        unseen = [self._row(await self._ask(rental), rental) for rental in unlisted]
        return await with_guards(self._journal, rentals, rows, unseen, self._clock())

    async def _tell_unseen(self, error: BackendError) -> None:
        """What a backend cannot be asked about goes on billing: our journal knows its name."""
        rented = [
            rental.session_id or ""
            for each in self._markets.all
            if each.bills
            for rental in await _rented(each)
        ]
        if rented:
            error.message += f"; by our own journal still rented: {', '.join(rented[:5])}"
        for name, why in self.away.items():
            if name not in self._markets.names:
                error.message += f"; {name}: {why}"

    async def _ask(self, rental: Rental) -> Session:
        """The session of a rental, or a stand-in that says that nobody knows."""
        try:
            return await self._backend(rental).session(rental.session_id or "")
        except GdlError as error:
            return _unknown(rental, error)

    def _backend(self, of: Rental | Session) -> Backend:
        return self._markets.of(of.backend).backend

    def _row(self, session: Session, rental: Rental | None) -> SessionRow:
        began = session.created_at or (rental.requested_at if rental else None)
        ended = rental.released_at if rental else None
        billing = self._billing(session, rental)
        unsure = billing == Billing.UNKNOWN
        # What is idle may have cost less for some of the time: nobody tells since when.
        counted = unsure or not session.terminal or billing == Billing.ACTIVE
        joined = rental.joined if rental else ()
        if rental is not None and joined:
            session = replace(session, price_per_hour=rental.price)  # of all of them together
        price = session.price_per_hour or (rental.price if rental else 0.0)
        cost = 0.0
        costs = self._backend(session).traits.bills and (ended is not None or counted)
        if costs and began is not None:
            cost = for_time(price, began, ended or self._clock())
        return SessionRow(
            session=session,
            ours=rental is not None and bool(rental.key_file or rental.agent_auth or ended),
            deployment_id=rental.deployment_id if rental else None,
            model=rental.served_name if rental else None,
            endpoint=None,
            cost=round(cost, 6),
            billing=billing,
            doubt=_doubt(session, rental) if unsure else "",
            extends=isinstance(self._backend(session), Extends) and not session.terminal,
            hours_end=isinstance(self._backend(session), Extends),
            joined=tuple(str(SshAddress(each.host, each.port, each.user)) for each in joined),
        )

    def _billing(self, session: Session, rental: Rental | None) -> str:
        backend = self._backend(session)
        if not backend.traits.bills:
            return str(Billing.NONE)
        # Where only absence proves an end, what is listed bills, whatever its state.
        over = session.terminal and not isinstance(backend, ProvesAbsence)
        if rental is not None and rental.billing is not Billing.NONE:
            if rental.billing is Billing.ACTIVE and over:
                # Ended without our asking: the backend may be wrong about that.
                return str(Billing.UNKNOWN)
            return str(rental.billing)
        return str(Billing.RELEASED if over else Billing.ACTIVE)

    # -- finding ---------------------------------------------------------------------------------

    async def row(self, ident: str) -> SessionRow:
        """The session that `ident` names: its id, its deployment's id, or the beginning of one."""
        rows = await self.rows()
        found = named(ident, rows)
        if len(found) == 1:
            return found[0]
        if not found:
            await self._refuse_elsewhere(ident)
        raise not_one(ident, found, rows)

    async def _refuse_elsewhere(self, ident: str) -> None:
        """Raises UsageError for a session that only another service can tell of."""
        for rental in matching(ident, await self._journal.rentals(), _ids):
            leasing = self._markets.get(rental.backend)
            url = "" if leasing is None else leasing.backend.service_url
            if rental.open and rental.service_url not in ("", url):
                raise UsageError(
                    f"session {rental.session_id} was rented through {rental.service_url}",
                    f"use that one: --backend {rental.backend}, with its address",
                )

    async def _refuse_keyless(self, ident: str) -> None:
        """Raises UsageError for a session that is rented to us by another computer, or whose key
        did not arrive: it is listed, and cannot be entered from here."""
        try:
            answers, _ = await self._markets.ask_all(lambda backend: backend.sessions())
        except GdlError:
            return
        listed = [session for answer in answers.values() for session in answer]
        for session in matching(ident, listed, lambda each: (each.id,)):
            if not session.terminal:
                raise UsageError(
                    f"session {session.id} is rented, but its key is not on this computer",
                    f"`gdl-tui destroy {session.id}` releases it; its key is where it was rented",
                )

    async def rentals_of(self, session: Session) -> list[Rental]:
        """Those of one session that we have not released yet."""
        return [r for r in await self._all_of(session) if r.open]

    async def released(self, session: Session) -> bool:
        """Whether the journal says that it is proven to be gone."""
        ours = await self._all_of(session)
        return bool(ours) and not any(r.open for r in ours)

    async def _all_of(self, session: Session) -> list[Rental]:
        rentals = await self._markets.of(session.backend).rentals()
        return [r for r in rentals if r.session_id == session.id]

    async def find(self, ident: str) -> Rental:
        """The rental of a session whose key we hold."""
        open_ones = [r for r in await self._markets.rentals() if r.session_id and r.open]
        found = matching(ident, open_ones, _ids)
        if len({r.subject for r in found}) != 1:
            if not found:
                await refuse_ended(self._journal, ident, await self._markets.rentals())
                await self._refuse_keyless(ident)
            listed = [r.session_id or "" for r in found]
            raise none_or_several(ident, listed, [r.session_id or "" for r in open_ones])
        return found[0]


async def _rented(leasing: Leasing) -> list[Rental]:
    """What is rented there by the journal."""
    return [r for r in await leasing.rentals() if r.session_id and r.open]


def _unknown(rental: Rental, why: GdlError) -> Session:
    """A session of which nobody can tell now."""
    return stand_in(rental, SessionStatus.UNKNOWN, why.message)


def _doubt(session: Session, rental: Rental | None) -> str:
    if rental is not None and rental.doubt:
        return rental.doubt
    if session.terminal:
        return f"it ended without our request ({session.error or 'no reason given'})"
    return "it is not known whether it ended"


def _ids(rental: Rental) -> tuple[str | None, ...]:
    named = f"{rental.backend}/{rental.session_id}" if rental.session_id else None
    return rental.session_id, rental.deployment_id, named
