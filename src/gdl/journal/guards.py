"""What guards rented machines, and how that ended: one row for each rental that has a guard."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from gdl.domain.guard import Guard
from gdl.domain.serialization import to_plain
from gdl.journal.store import Journal

_TIMES = ("since", "seen_at", "ended_at")


async def remember(journal: Journal, intent_id: str, guard: Guard) -> None:
    """Insert, or replace the rental's."""
    await journal.write(
        "INSERT OR REPLACE INTO guards (intent_id, guard) VALUES (?, ?)",
        (intent_id, json.dumps(to_plain(guard))),
    )


async def known(journal: Journal) -> dict[str, Guard]:
    """By the intent of their rental."""
    rows = await journal.read("SELECT intent_id, guard FROM guards")
    return {row["intent_id"]: _guard(json.loads(row["guard"])) for row in rows}


async def of_rental(journal: Journal, intent_id: str) -> Guard | None:
    rows = await journal.read("SELECT guard FROM guards WHERE intent_id = ?", (intent_id,))
    return _guard(json.loads(rows[0]["guard"])) if rows else None


def _guard(told: dict[str, Any]) -> Guard:
    """What a later version has added is skipped."""
    values = {f.name: told[f.name] for f in fields(Guard) if f.name in told}
    for name in _TIMES:
        if values.get(name):
            values[name] = datetime.fromisoformat(values[name])
    return Guard(**values)
