"""The volumes that were asked for, so that none is forgotten."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from gdl.domain.volumes import VolumeRecord
from gdl.journal.store import Journal, insertion


async def save(journal: Journal, one: VolumeRecord) -> None:
    """Insert or replace; on disk when it returns."""
    await journal.write(*insertion("volumes", one, verb="INSERT OR REPLACE"))


async def known(journal: Journal) -> list[VolumeRecord]:
    """All of them, oldest first."""
    rows = await journal.read("SELECT * FROM volumes ORDER BY requested_at, intent_id")
    return [_record(row) for row in rows]


def _record(row: sqlite3.Row) -> VolumeRecord:
    return VolumeRecord(
        intent_id=row["intent_id"],
        backend=row["backend"],
        name=row["name"],
        size_gb=row["size_gb"],
        requested_at=datetime.fromisoformat(row["requested_at"]),
        service_url=row["service_url"],
        place=row["place"],
        price_per_hour=row["price_per_hour"],
        volume_id=row["volume_id"],
        gone_at=datetime.fromisoformat(row["gone_at"]) if row["gone_at"] else None,
    )
