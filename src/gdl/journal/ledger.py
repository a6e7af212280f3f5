"""The ledger: what happened to money. Entries are added, and never changed."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.ledger import LedgerEntry, LedgerKind
from gdl.domain.rental import Rental
from gdl.journal.store import Journal, Statement, insertion


def entry(
    rental: Rental,
    kind: LedgerKind,
    at: datetime,
    evidence: str,
    *,
    service_at: datetime | None = None,
    traffic: float = 0.0,
) -> LedgerEntry:
    """An entry about a rental as it is now."""
    return LedgerEntry(
        at=at,
        kind=kind,
        backend=rental.backend,
        deployment_id=rental.deployment_id,
        attempt=rental.attempt,
        intent_id=rental.intent_id,
        session_id=rental.session_id,
        provider=rental.provider,
        offer_id=rental.offer_id,
        price=rental.price,
        evidence=evidence,
        service_at=service_at,
        traffic=traffic,
    )


async def add(journal: Journal, one: LedgerEntry) -> None:
    """On disk when it returns. Raises GdlError."""
    await journal.write(*statement(one))


def statement(one: LedgerEntry) -> Statement:
    """What writes an entry, for the transaction of what it tells (`Journal.save`)."""
    return insertion("ledger", one)


async def entries(journal: Journal) -> list[LedgerEntry]:
    """All of them, in the order in which they were written."""
    rows = await journal.read("SELECT * FROM ledger ORDER BY id")
    return [
        LedgerEntry(
            at=datetime.fromisoformat(row["at"]),
            kind=LedgerKind(row["kind"]),
            backend=row["backend"],
            deployment_id=row["deployment_id"],
            attempt=row["attempt"],
            intent_id=row["intent_id"],
            session_id=row["session_id"],
            provider=row["provider"],
            offer_id=row["offer_id"],
            price=row["price"],
            evidence=row["evidence"],
            service_at=datetime.fromisoformat(row["service_at"]) if row["service_at"] else None,
            traffic=row["traffic"],
        )
        for row in rows
    ]
