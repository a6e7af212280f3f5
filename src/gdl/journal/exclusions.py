"""Who is excluded across restarts: offers, machines and providers, each with reason and end."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.offers import Exclusion
from gdl.journal.store import Journal, insertion


async def remember(journal: Journal, exclusion: Exclusion) -> None:
    """Insert, or replace the one for the same key. What a user asked for stays the user's."""
    sql, cells = insertion("exclusions", exclusion)
    await journal.write(
        f"{sql} ON CONFLICT (backend, kind, key) DO UPDATE SET reason = excluded.reason,"
        " cause = excluded.cause, scope = excluded.scope, since = excluded.since,"
        " until = excluded.until WHERE exclusions.scope <> 'user' OR excluded.scope = 'user'",
        cells,
    )


async def in_force(journal: Journal, backend: str, now: datetime) -> list[Exclusion]:
    """Those that hold now, newest first."""
    rows = await journal.read(
        "SELECT * FROM exclusions WHERE backend = ? ORDER BY since DESC, kind, key", (backend,)
    )
    found = [
        Exclusion(
            kind=row["kind"],
            key=row["key"],
            reason=row["reason"],
            since=datetime.fromisoformat(row["since"]),
            until=datetime.fromisoformat(row["until"]) if row["until"] else None,
            cause=row["cause"],
            scope=row["scope"],
            backend=row["backend"],
        )
        for row in rows
    ]
    return [exclusion for exclusion in found if exclusion.holds(now)]


async def clear(journal: Journal, backend: str, key: str | None) -> int:
    """Forget those of a key, or all; how many there were."""
    if key is None:
        return await journal.write("DELETE FROM exclusions WHERE backend = ?", (backend,))
    return await journal.write(
        "DELETE FROM exclusions WHERE backend = ? AND key = ?", (backend, key)
    )


async def forget_provider(journal: Journal, backend: str, provider: str) -> None:
    """One that failures excluded; what a user asked for stays."""
    await journal.write(
        "DELETE FROM exclusions WHERE backend = ? AND kind = 'provider' AND key = ?"
        " AND scope = 'remembered'",
        (backend, provider),
    )


async def tidy(journal: Journal, now: datetime) -> None:
    """Drop those whose end has passed. All times are written in UTC, so they sort as text."""
    await journal.write(
        "DELETE FROM exclusions WHERE until IS NOT NULL AND until < ?", (now.isoformat(),)
    )
