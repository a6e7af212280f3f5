"""What the guards of sessions will do and have done, for the lists of sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.domain.errors import UsageError
from gdl.domain.guard import Guard, end_words, words
from gdl.domain.id_matching import matching
from gdl.domain.money import for_time
from gdl.domain.rental import Rental
from gdl.domain.session import SessionStatus
from gdl.journal import guards
from gdl.journal.store import Journal
from gdl.orchestrator.api.views import SessionRow
from gdl.orchestrator.sessions.stand_in import stand_in

_TOLD_FOR = timedelta(days=1)
"""For so long, what its guard has ended is listed among the sessions."""


async def with_guards(
    journal: Journal,
    rentals: Sequence[Rental],
    listed: Sequence[SessionRow],
    unlisted: Sequence[SessionRow],
    now: datetime,
) -> tuple[list[SessionRow], list[SessionRow]]:
    """The rows of one backend, those that it lists and those that it does not, with what their
    guards do; and with what a guard has ended lately. rentals: ours there, newest first."""
    known = await guards.known(journal)
    if not known:
        return list(listed), list(unlisted)
    by_session = {r.session_id: r for r in reversed(rentals) if r.session_id}
    there = {row.session.id for row in (*listed, *unlisted)}
    gone = [
        _row_of(rental)
        for rental in by_session.values()
        if rental.session_id not in there and not rental.open and _lately(known, rental, now)
    ]

    def told(row: SessionRow) -> SessionRow:
        rental = by_session.get(row.session.id)
        guard = known.get(rental.intent_id) if rental is not None else None
        if guard is None or (row.session.terminal and not guard.ended):
            return row
        ends = guard.installed and not guard.ended and guard.ends == "machine"
        return replace(row, guard=words(guard, now), spent_at=guard.spent_at if ends else None)

    return [told(row) for row in listed], [told(row) for row in (*unlisted, *gone)]


async def refuse_ended(journal: Journal, ident: str, rentals: Sequence[Rental]) -> None:
    """Raises UsageError for a session that its guard has ended."""
    known = await guards.known(journal)
    for rental in matching(ident, rentals, lambda r: (r.session_id, r.deployment_id)):
        guard = known.get(rental.intent_id)
        if guard is not None and guard.ended:
            raise UsageError(
                f"session {rental.session_id} is over: {end_words(guard)}", "deploy again"
            )


def _lately(known: Mapping[str, Guard], rental: Rental, now: datetime) -> bool:
    guard = known.get(rental.intent_id)
    ended_at = guard.ended_at if guard is not None else None
    return ended_at is not None and now - ended_at < _TOLD_FOR


def _row_of(rental: Rental) -> SessionRow:
    """Of a machine that is gone."""
    ended = rental.released_at or rental.requested_at
    return SessionRow(
        session=stand_in(rental, SessionStatus.STOPPED),
        ours=True,
        deployment_id=rental.deployment_id,
        model=rental.served_name,
        endpoint=None,
        cost=round(for_time(rental.price, rental.requested_at, ended), 6),
        billing=str(rental.billing),
    )
