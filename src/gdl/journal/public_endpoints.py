"""Endpoints that were made public, so that none is forgotten."""

from __future__ import annotations

from datetime import datetime

from gdl.domain.lazy_dataclass import dataclass
from gdl.journal.store import Journal


@dataclass(frozen=True, slots=True)
class PublicEndpoint:
    """url: the address last seen, without a path; "" while it is being made."""

    session_id: str
    url: str
    since: datetime


async def remember(journal: Journal, one: PublicEndpoint) -> None:
    """Insert, or replace the session's."""
    await journal.write(
        "INSERT OR REPLACE INTO public_endpoints (session_id, url, since) VALUES (?, ?, ?)",
        (one.session_id, one.url, one.since.isoformat()),
    )


async def forget(journal: Journal, session_id: str) -> None:
    await journal.write("DELETE FROM public_endpoints WHERE session_id = ?", (session_id,))


async def known(journal: Journal) -> list[PublicEndpoint]:
    """Oldest first."""
    rows = await journal.read("SELECT * FROM public_endpoints ORDER BY since, session_id")
    return [
        PublicEndpoint(row["session_id"], row["url"], datetime.fromisoformat(row["since"]))
        for row in rows
    ]


async def of_session(journal: Journal, session_id: str) -> PublicEndpoint | None:
    return next((one for one in await known(journal) if one.session_id == session_id), None)
