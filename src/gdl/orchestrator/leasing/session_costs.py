"""What each session came to: by our own clock, and as its marketplace charged it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from gdl.domain.ledger import LedgerAccount, accounts
from gdl.domain.money import SessionCost
from gdl.journal import ledger, session_charges
from gdl.journal.store import Journal


async def of_backends(
    journal: Journal, backends: Collection[str], now: datetime
) -> tuple[SessionCost, ...]:
    """Of those backends, the first first. A request that led to no machine is none of them."""
    entries = [one for one in await ledger.entries(journal) if one.backend in backends]
    charged = {
        (row.backend, row.session_id): row.charged
        for name in backends
        for row in await session_charges.latest(journal, name)
    }
    told = [_row(each) for each in accounts(entries, now) if each.session_id or not each.certain]
    return tuple(replace(row, charged=charged.get((row.backend, row.session_id))) for row in told)


def _row(account: LedgerAccount) -> SessionCost:
    first = account.entries[0]
    return SessionCost(
        backend=first.backend,
        provider=first.provider,
        session_id=account.session_id or "",
        deployment_id=first.deployment_id,
        price_per_hour=account.price,
        since=account.since,
        until=account.until,
        cost=account.cost,
    )
