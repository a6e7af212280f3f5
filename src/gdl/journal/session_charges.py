"""What sessions were to cost beside what was charged for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gdl.domain.session_charges import SessionCharges
from gdl.journal.store import Journal, insertion

LOOK_BACK = 300
"""Sessions that are looked at: hosts and their prices change."""


async def remember(journal: Journal, row: SessionCharges) -> None:
    """Insert, or replace the one of the same session."""
    await journal.write(*insertion("session_charges", row, verb="INSERT OR REPLACE"))


async def latest(journal: Journal, backend: str, limit: int = LOOK_BACK) -> list[SessionCharges]:
    """The latest of a backend, newest first."""
    rows = await journal.read(
        "SELECT * FROM session_charges WHERE backend = ? ORDER BY released_at DESC LIMIT ?",
        (backend, limit),
    )
    return [_row(row) for row in rows]


async def unknown(journal: Journal, backend: str, since: datetime) -> Sequence[SessionCharges]:
    """Those released since then whose charges are not known yet, oldest first."""
    rows = await journal.read(
        "SELECT * FROM session_charges WHERE backend = ? AND released_at >= ?"
        " AND charged_rent IS NULL ORDER BY released_at",
        (backend, since.isoformat()),
    )
    return [_row(row) for row in rows]


def _row(row: sqlite3.Row) -> SessionCharges:
    return SessionCharges(
        backend=row["backend"],
        session_id=row["session_id"],
        provider=row["provider"],
        host=row["host"],
        rented_at=datetime.fromisoformat(row["rented_at"]),
        released_at=datetime.fromisoformat(row["released_at"]),
        expected_rent=row["expected_rent"],
        expected_traffic=row["expected_traffic"],
        charged_rent=row["charged_rent"],
        charged_traffic=row["charged_traffic"],
    )
